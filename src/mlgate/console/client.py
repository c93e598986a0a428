"""The API as the console sees it: every call, as the person whose token it bears. Only this file knows addresses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, cast
from urllib.parse import quote

import httpx

from mlgate.cli.failure import Failure, from_answer
from mlgate.core.names import full_name

Json = dict[str, Any]
Query = Mapping[str, str | int | bool | list[str] | None]

PAGE = 100
_AT_ONCE = 8
_TIMEOUT = httpx.Timeout(120, connect=5)


class SessionEnded(Failure):
    """The token is good no more: it has ended, or somebody has ended it."""


def new_http(api_url: str) -> httpx.AsyncClient:
    """The connections to the API, which all people share; each call brings its own token."""
    limits = httpx.Limits(max_connections=200, max_keepalive_connections=20)
    return httpx.AsyncClient(base_url=api_url, timeout=_TIMEOUT, trust_env=False, limits=limits)


class ConsoleClient:
    """Raises Failure for any answer that is an error, SessionEnded for 401."""

    def __init__(self, http: httpx.AsyncClient, bearer: str = "") -> None:
        self._http = http
        self._headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}

    # ---------------------------------------------------------------------------------------------------- the wire

    async def _call(self, verb: str, path: str, body: Any = None, query: Query | None = None) -> Json:
        response = await self._send(verb, path, query, json=body)
        return _parsed(response.status_code, response.content)

    async def _send(self, verb: str, path: str, query: Query | None = None, **options: Any) -> httpx.Response:
        given: Any = {
            k: str(v).lower() if isinstance(v, bool) else v for k, v in (query or {}).items() if v not in (None, "")
        }
        headers = self._headers | options.pop("headers", {})
        try:
            return await self._http.request(verb, f"/{path}", params=given, headers=headers, **options)
        except httpx.TransportError as error:
            raise _unavailable(error) from None

    async def _all(self, path: str, field: str, query: Query | None = None, most: int = 10_000) -> list[Json]:
        """The items of all pages."""
        items: list[Json] = []
        given = dict(query or {})
        while True:
            answer = await self._call("GET", path, query=given)
            items += answer.get(field, [])
            token = answer.get("nextPageToken")
            if not token or len(items) >= most:
                return items
            given["pageToken"] = token

    # ------------------------------------------------------------------------------------------------------ sign-in

    async def open_session(self, code: str) -> Json:
        return await self._call("POST", "session:open", {"code": code})

    async def session(self) -> Json:
        return await self._call("GET", "session")

    async def end_session(self) -> None:
        await self._call("POST", "session:end")

    # ----------------------------------------------------------------------------------------------------- projects

    async def projects(self) -> list[Json]:
        found = await self._all("v1/projects", "projects", {"filter": "lifecycleState:ACTIVE"}, most=1000)
        return sorted(found, key=lambda project: str(project["projectId"]))

    async def ancestry(self, project: str) -> list[str]:
        """The names of a project and of all that it is in, innermost first."""
        answer = await self._call("POST", f"v1/projects/{_id(project)}:getAncestry", {})
        return [f"{a['resourceId']['type']}s/{a['resourceId']['id']}" for a in answer.get("ancestor", [])]

    # ------------------------------------------------------------------------------------------------------- models

    async def models(self, project: str, text: str = "", token: str = "", size: int = PAGE) -> Json:
        """A page of models: all of them for whoever may list them, else those that the caller may read."""
        name = f"projects/{_id(project)}"
        query: Query = {"pageSize": size, "pageToken": token, "filter": text}
        try:
            return await self._call("GET", f"v1/{name}/models", query=query)
        except Failure as failure:
            if failure.status != "PERMISSION_DENIED":
                raise
            found = await self._call("GET", f"v1/{name}/models:search", query={"pageSize": size, "pageToken": token})
            return {**found, "denied": failure.message}

    async def model(self, name: str) -> Json:
        return await self._call("GET", f"v1/{_name(name)}")

    async def create_model(self, project: str, model: Json) -> Json:
        return await self._call("POST", f"v1/projects/{_id(project)}/models", model)

    async def delete(self, name: str) -> Json:
        """Delete a model, a version, an operation, a study, a role, a group, an account or a key."""
        return await self._call("DELETE", f"v1/{_name(name)}")

    async def versions(self, model: str) -> list[Json]:
        return await self._all(f"v1/{_name(model)}/versions", "versions", {"pageSize": 1000})

    async def create_version(self, model: str, version: Json) -> Json:
        return await self._call("POST", f"v1/{_name(model)}/versions", version)

    async def set_default(self, version: str) -> Json:
        return await self._call("POST", f"v1/{_name(version)}:setDefault", {})

    async def predict(self, name: str, body: str) -> str:
        """What the model answers, as text; a model's own refusal is an answer too."""
        headers = {"Content-Type": "application/json"}
        response = await self._send("POST", f"v1/{_name(name)}:predict", content=body.encode(), headers=headers)
        if response.status_code != 200:
            _parsed(response.status_code, response.content)
        return response.text

    async def metrics(self, name: str, query: Query | None = None) -> Json:
        """How a model or a version is used, period by period."""
        return await self._call("GET", f"v1/{_name(name)}:metrics", query=query)

    async def version_log(self, version: str, kind: str, limit: int) -> list[Json]:
        answer = await self._call("GET", f"v1/{_name(version)}:listLogs", query={"kind": kind, "limit": limit})
        return cast(list[Json], answer.get("lines", []))

    # ----------------------------------------------------------------------------------------------------- policies

    async def policy(self, name: str) -> Json:
        """The policy of a model, a job, a service account, a bucket, a project, a folder or the organization."""
        version = {"options.requestedPolicyVersion": 3}
        match name.split("/"):
            case ["buckets", bucket]:
                return await self._call(
                    "GET", f"storage/v1/b/{_id(bucket)}/iam", query={"optionsRequestedPolicyVersion": 3}
                )
            case ["projects", _, "models" | "jobs", _]:
                return await self._call("GET", f"v1/{_name(name)}:getIamPolicy", query=version)
            case ["projects", _, *_] | ["organizations", _]:
                given = None if name.count("/") > 1 else {"options": {"requestedPolicyVersion": 3}}
                query = version if given is None else None
                return await self._call("POST", f"v1/{_name(name)}:getIamPolicy", given, query)
        return await self._call("POST", f"v3/{_name(name)}:getIamPolicy", {"options": {"requestedPolicyVersion": 3}})

    async def set_policy(self, name: str, policy: Json) -> Json:
        if name.startswith("buckets/"):
            return await self._call("PUT", f"storage/v1/b/{_id(name.partition('/')[2])}/iam", policy)
        version = "v3" if name.startswith("folders/") else "v1"
        return await self._call("POST", f"{version}/{_name(name)}:setIamPolicy", {"policy": policy})

    async def revisions(self, name: str) -> list[Json]:
        found = await self._call("GET", f"v1/{_name(name)}/iamPolicyRevisions", query={"pageSize": 50})
        return cast(list[Json], found.get("policyRevisions", []))

    async def revision(self, name: str, number: str) -> Json:
        return await self._call("GET", f"v1/{_name(name)}/iamPolicyRevisions/{_id(number)}")

    async def may(self, name: str, permissions: Iterable[str]) -> set[str]:
        """Which of these permissions the caller holds there."""
        asked = list(permissions)
        if name.startswith("buckets/"):
            path = f"storage/v1/b/{_id(name.partition('/')[2])}/iam/testPermissions"
            answer = await self._call("GET", path, query={"permissions": asked})
        else:
            answer = await self._call("POST", f"v1/{_name(name)}:testIamPermissions", {"permissions": asked})
        return set(answer.get("permissions", ()))

    async def grantable_roles(self, name: str) -> list[Json]:
        body = {"fullResourceName": full_name(name), "pageSize": 1000}
        answer = await self._call("POST", "v1/roles:queryGrantableRoles", body)
        return cast(list[Json], answer.get("roles", []))

    async def role(self, name: str) -> Json:
        return await self._call("GET", f"v1/{_name(name)}")

    async def predefined_roles(self) -> list[Json]:
        return await self._all("v1/roles", "roles", {"pageSize": 1000})

    async def custom_roles(self, parent: str) -> list[Json]:
        return await self._all(f"v1/{_name(parent)}/roles", "roles", {"pageSize": 1000, "view": "FULL"})

    async def create_role(self, parent: str, role_id: str, role: Json) -> Json:
        return await self._call("POST", f"v1/{_name(parent)}/roles", {"roleId": role_id, "role": role})

    # ------------------------------------------------------------------------------------------------------- access

    async def access(self, scope: str, query: Query) -> Json:
        return await self._call("GET", f"v1/{_name(scope)}:listAccess", query=query)

    async def troubleshoot(self, name: str, permission: str, principal: str) -> Json:
        asked = {"fullResourceName": name, "permission": permission, "principal": principal}
        return await self._call("POST", "v3/iam:troubleshoot", {"accessTuple": asked})

    # ------------------------------------------------------------------------------------------- groups and accounts

    async def groups(self) -> list[Json]:
        return await self._all("v1/groups:search", "groups", {"pageSize": 500, "view": "FULL"})

    async def create_group(self, group: Json) -> Json:
        return await self._call("POST", "v1/groups", group, {"initialGroupConfig": "WITH_INITIAL_OWNER"})

    async def group_of(self, email: str) -> str:
        """The name of the group with this address."""
        return str((await self._call("GET", "v1/groups:lookup", query={"groupKey.id": email}))["name"])

    async def memberships(self, group: str) -> list[Json]:
        return await self._all(f"v1/{_name(group)}/memberships", "memberships", {"pageSize": 500, "view": "FULL"})

    async def everybody_in(self, email: str) -> list[Json]:
        """Everybody in a group, on any path. Raises Failure for whoever may not list them."""
        path = f"v1/{_name(await self.group_of(email))}/memberships:searchTransitiveMemberships"
        return await self._all(path, "memberships", {"pageSize": 500}, most=1000)

    async def add_membership(self, group: str, membership: Json) -> Json:
        return await self._call("POST", f"v1/{_name(group)}/memberships", membership)

    async def accounts(self, project: str) -> list[Json]:
        return await self._all(f"v1/projects/{_id(project)}/serviceAccounts", "accounts", {"pageSize": 100})

    async def create_account(self, project: str, account_id: str, display_name: str) -> Json:
        body = {"accountId": account_id, "serviceAccount": {"displayName": display_name}}
        return await self._call("POST", f"v1/projects/{_id(project)}/serviceAccounts", body)

    async def switch(self, name: str, on: bool) -> None:
        """Enable or disable a service account or a key."""
        await self._call("POST", f"v1/{_name(name)}:{'enable' if on else 'disable'}", {})

    async def keys(self, account: str) -> list[Json]:
        answer = await self._call("GET", f"v1/{_name(account)}/keys", query={"keyTypes": "USER_MANAGED"})
        return cast(list[Json], answer.get("keys", []))

    async def create_key(self, account: str) -> Json:
        return await self._call("POST", f"v1/{_name(account)}/keys", {})

    # --------------------------------------------------------------------------------------------------- operations

    async def operations(self, project: str, token: str = "", text: str = "") -> Json:
        query: Query = {"pageSize": PAGE, "pageToken": token, "filter": text}
        return await self._call("GET", f"v1/projects/{_id(project)}/operations", query=query)

    async def get(self, name: str) -> Json:
        """An operation, a version, a job, a study, ..., by its name."""
        return await self._call("GET", f"v1/{_name(name)}")

    async def cancel(self, name: str) -> None:
        await self._call("POST", f"v1/{_name(name)}:cancel", {})

    # --------------------------------------------------------------------------------------------------------- jobs

    async def jobs(self, project: str, token: str = "", text: str = "") -> Json:
        query: Query = {"pageSize": PAGE, "pageToken": token, "filter": text}
        return await self._call("GET", f"v1/projects/{_id(project)}/jobs", query=query)

    async def log(self, project: str, text: str, token: str = "", newest: bool = True, size: int = 500) -> Json:
        """A page of log entries that a filter selects (Logging v2)."""
        body = {
            "resourceNames": [f"projects/{project}"],
            "filter": text,
            "orderBy": f"timestamp {'desc' if newest else 'asc'}",
            "pageSize": min(size, 1000),
            **({"pageToken": token} if token else {}),
        }
        return await self._call("POST", "v2/entries:list", body)

    # ------------------------------------------------------------------------------------------------------ studies

    async def studies(self, project: str) -> list[Json]:
        """The studies of all locations."""
        locations = await self._all(f"v1/projects/{_id(project)}/locations", "locations", {"pageSize": 1000})
        names = [location["name"] for location in locations]
        lists = await self.together(self._call("GET", f"v1/{_name(name)}/studies") for name in names)
        return [study for answer in lists for study in answer.get("studies", [])]

    async def trials(self, study: str) -> list[Json]:
        return cast(list[Json], (await self._call("GET", f"v1/{_name(study)}/trials")).get("trials", []))

    async def plot(self, study: str, kind: str, **query: str) -> Json:
        answer = await self._call("GET", f"v1/{_name(study)}:plot", query={"kind": kind, **query})
        return cast(Json, answer["data"])

    # ------------------------------------------------------------------------------------------------------ storage

    async def buckets(self, project: str) -> list[Json]:
        return await self._all("storage/v1/b", "items", {"project": project, "maxResults": 1000})

    async def create_bucket(self, project: str, bucket: str) -> Json:
        return await self._call("POST", "storage/v1/b", {"name": bucket}, {"project": project})

    async def objects(self, bucket: str, prefix: str = "", token: str = "", size: int = PAGE) -> Json:
        """A page of the objects and folders right below a prefix."""
        query: Query = {"prefix": prefix, "delimiter": "/", "maxResults": size, "pageToken": token}
        return await self._call("GET", f"storage/v1/b/{_id(bucket)}/o", query=query)

    async def upload(self, bucket: str, name: str, content: Any, content_type: str) -> Json:
        """Store an object; `content` is bytes or a stream of them."""
        query = {"uploadType": "media", "name": name}
        path, headers = f"upload/storage/v1/b/{_id(bucket)}/o", {"Content-Type": content_type}
        response = await self._send("POST", path, query, content=content, headers=headers)
        return _parsed(response.status_code, response.content)

    async def download(self, bucket: str, name: str) -> AsyncIterator[bytes]:
        """The bytes of an object. Raises Failure before the first."""
        path = f"/storage/v1/b/{_id(bucket)}/o/{_id(name)}"
        request = self._http.build_request("GET", path, params={"alt": "media"}, headers=self._headers)
        try:
            response = await self._http.send(request, stream=True)
        except httpx.TransportError as error:
            raise _unavailable(error) from None
        try:
            if response.status_code != 200:
                _parsed(response.status_code, await response.aread())
            async for chunk in response.aiter_bytes():
                yield chunk
        finally:
            await response.aclose()

    async def delete_object(self, bucket: str, name: str) -> None:
        await self._call("DELETE", f"storage/v1/b/{_id(bucket)}/o/{_id(name)}")

    async def delete_bucket(self, bucket: str) -> None:
        await self._call("DELETE", f"storage/v1/b/{_id(bucket)}")

    # ------------------------------------------------------------------------------------------------------- parts

    @staticmethod
    async def together(calls: Iterable[Any]) -> list[Any]:
        """The answers of several calls, a few at a time; the first failure is raised."""
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(call: Any) -> Any:
            async with gate:
                return await call

        return list(await asyncio.gather(*(one(call) for call in calls)))


def _parsed(status_code: int, content: bytes) -> Json:
    try:
        body = json.loads(content) if content else {}
    except ValueError:
        body = content.decode(errors="replace")
    if status_code < 300 and isinstance(body, dict):
        return body
    failure = from_answer(status_code, body)
    if status_code == 401:
        raise SessionEnded(failure.status, failure.message, http_status=401)
    raise failure


def _unavailable(error: httpx.TransportError) -> Failure:
    why = str(error) or type(error).__name__
    return Failure("UNAVAILABLE", f"The server does not answer ({why}). Nothing was changed; try again in a moment.")


def _id(text: str) -> str:
    return quote(text, safe="")


def _name(name: str) -> str:
    return "/".join(quote(part, safe="@") for part in name.split("/"))
