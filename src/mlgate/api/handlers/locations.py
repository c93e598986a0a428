"""Locations and the project's configuration. One machine is every region: it answers to the name that clients send."""

from __future__ import annotations

from mlgate.api.call import Call
from mlgate.api.messages.models import Config, GetConfigResponse, ListLocationsResponse, Location
from mlgate.core.errors import NotFound
from mlgate.core.names import DEFAULT_LOCATION, id_of, join, project_id_of


def list_locations(call: Call) -> ListLocationsResponse:
    call.record(call.resource, "project")
    return ListLocationsResponse(locations=[Location(name=join(call.resource, "locations", DEFAULT_LOCATION))])


def get_location(call: Call) -> Location:
    project, location = call.params["name"].rsplit("/locations/", 1)
    call.record(project, "project")
    if id_of(location) != DEFAULT_LOCATION:
        raise NotFound(f"Location '{location}' was not found; this server has {DEFAULT_LOCATION}.")
    return Location(name=call.params["name"])


def get_config(call: Call) -> GetConfigResponse:
    """The account whose rights a deployment needs (R-091)."""
    call.record(call.resource, "project")
    project = call.services.snapshot.projects[project_id_of(call.resource)]
    return GetConfigResponse(
        service_account=project.agent,
        service_account_project=int(project.number),
        config=Config(tpu_service_account=project.agent),
    )
