"""Buckets and clients for the tests of storage."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest
from google.cloud import storage
from google.oauth2.credentials import Credentials

from tests.harness import Server
from tests.storage.clients import google_client

_COUNT = itertools.count()


@pytest.fixture
def bucket(server: Server, worker_id: str) -> str:
    """A new bucket, by its id."""
    name = f"test-{worker_id}-{next(_COUNT)}"
    with server.http() as http:
        made = http.post("/storage/v1/b", params={"project": server.project}, json={"name": name})
    assert made.status_code == 200, made.text
    return name


@pytest.fixture
def google(server: Server) -> Iterator[storage.Client]:
    """An unmodified google-cloud-storage as the project's Owner."""
    client = google_client(server)
    yield client
    client.close()


@pytest.fixture
def google_as(server: Server) -> Iterator[Callable[[str], storage.Client]]:
    made: list[storage.Client] = []

    def client(principal: str) -> storage.Client:
        made.append(google_client(server, Credentials(server.token(principal))))
        return made[-1]

    yield client
    for one in made:
        one.close()
