"""Ways to speak to a server: Google's client, raw requests, and a proxy that breaks connections."""

from __future__ import annotations

import socket
import threading
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
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            for thread in (
                threading.Thread(target=self._pass, args=(client, server, True), daemon=True),
                threading.Thread(target=self._pass, args=(server, client, False), daemon=True),
            ):
                self._threads.append(thread)
                thread.start()

    def _pass(self, source: socket.socket, sink: socket.socket, counted: bool) -> None:
        passed = 0
        try:
            while data := source.recv(65536):
                sink.sendall(data)
                passed += len(data)
                if counted and self.cuts_left and passed >= self._cut_after:
                    self.cuts_left -= 1
                    break
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        if counted:
            return

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
