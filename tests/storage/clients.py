"""Ways to speak to a server: Google's client, raw requests, and a proxy that breaks connections."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import httpx
from google.cloud import storage
from google.oauth2.credentials import Credentials

from tests.harness import Server


def google_client(server: Server, credentials: Credentials | None = None, url: str = "") -> storage.Client:
    return storage.Client(
        project=server.project,
        credentials=credentials or Credentials(server.token()),
        client_options={"api_endpoint": url or server.url},
    )


def upload(http: httpx.Client, bucket: str, name: str, data: bytes, **options: Any) -> httpx.Response:
    """A media upload."""
    params = {"uploadType": "media", "name": name, **options.pop("params", {})}
    return http.post(f"/upload/storage/v1/b/{bucket}/o", params=params, content=data, **options)


def start(http: httpx.Client, bucket: str, name: str, headers: dict[str, str] | None = None, **fields: Any) -> str:
    """Open a resumable session; its address."""
    opened = http.post(
        f"/upload/storage/v1/b/{bucket}/o",
        params={"uploadType": "resumable", **fields.pop("params", {})},
        json={"name": name, **fields},
        headers=headers,
    )
    assert opened.status_code == 200, opened.text
    return opened.headers["Location"]


def chunk(http: httpx.Client, url: str, data: bytes, content_range: str, **headers: str) -> httpx.Response:
    return http.put(url, content=data, headers={"Content-Range": content_range, **headers})


def path_of(bucket: str, name: str, suffix: str = "") -> str:
    return f"/storage/v1/b/{bucket}/o/{quote(name, safe='')}{suffix}"


def media(http: httpx.Client, bucket: str, name: str, **headers: str) -> httpx.Response:
    return http.get(path_of(bucket, name), params={"alt": "media"}, headers=headers)


class BreakingProxy:
    """Passes bytes to a server, and cuts the connection after so many bytes of a request, as often as told."""

    def __init__(self, server: Server, cut_after: int, times: int = 1) -> None:
        self._target = ("127.0.0.1", server.port())
        self._cut_after, self.cuts_left = cut_after, times
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets = [self._listener]
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def _start(self, work: Callable[..., None], *arguments: Any) -> None:
        self._threads.append(threading.Thread(target=work, args=arguments))
        self._threads[-1].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                self._sockets += [client, server]
                done: list[bool] = []
                self._start(self._pass, client, server, True, done)
                self._start(self._pass, server, client, False, done)

    def _pass(self, source: socket.socket, sink: socket.socket, is_request: bool, done: list[bool]) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
                passed += len(data)
                if is_request and self.cuts_left and passed >= self._cut_after:
                    self.cuts_left -= 1
                    break
        _end(source, sink)
        done.append(is_request)
        if len(done) == 2:  # only a closed socket tells a peer that is still sending
            source.close()
            sink.close()

    def close(self) -> None:
        _end(*self._sockets)
        for thread in self._threads:
            thread.join(10)
        for one in self._sockets:
            one.close()


def _end(*sockets: socket.socket) -> None:
    for one in sockets:
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
