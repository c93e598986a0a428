"""Hosts as a job names them: which are this server, which the job may reach beside, which are out of reach."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from mlgate.adapters.runners.routes import METADATA_ADDRESS
from mlgate.adapters.runners.wire import Malformed

_AUTHORITY = re.compile(r"([a-z0-9._-]{1,253})(?::([0-9]{1,5}))?")


@dataclass(frozen=True, slots=True)
class Origin:
    """The server that the caller believes to speak to."""

    scheme: str
    authority: str

    @property
    def host(self) -> str:
        return self.authority.partition(":")[0]

    @property
    def port(self) -> int:
        return int(self.authority.partition(":")[2] or (443 if self.scheme == "https" else 80))


def origin_of(scheme: str, authority: str) -> Origin | None:
    """None for what is no HOST or HOST:PORT."""
    origin = Origin(scheme, authority.lower())
    return origin if _AUTHORITY.fullmatch(origin.authority) and origin.port < 65536 else None


def absolute(target: str, tunnel: Origin | None) -> tuple[Origin, str]:
    """The origin and the rest of an address in full, as proxies get them. Raises Malformed."""
    scheme, _, rest = target.partition("://")
    authority, slash, tail = rest.partition("/")
    origin = origin_of(scheme, authority)
    if origin is None or (scheme != "http" if tunnel is None else origin != tunnel):
        raise Malformed("The request's target is neither a path nor an address of the host that is spoken to.")
    return origin, slash + tail if slash else "/"


def public(url: str) -> Origin | None:
    """The host of the server's public address; None for a number, which no certificate of ours could be for."""
    parts = urlsplit(url)
    origin = origin_of(parts.scheme, parts.netloc)
    return origin if origin and origin.scheme in ("http", "https") and re.search(r"[a-z]", origin.host) else None


@dataclass(frozen=True)
class Reach:
    """What a job can reach: hosts that are answered for, and patterns of others that it may go out to."""

    names: Collection[str]
    open_to: Collection[str]

    def is_here(self, host: str) -> bool:
        return host in self.names or host == METADATA_ADDRESS

    def is_open(self, host: str) -> bool:
        return any(fnmatchcase(host, pattern) for pattern in self.open_to)

    def address(self, origin: Origin) -> str:
        """Where a host is, looked up once, so that it cannot be elsewhere when it is called. Raises OSError."""
        try:
            found = str(socket.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)[0][4][0])
        except UnicodeError as error:
            raise OSError("it is no name of a host") from error
        if origin.host not in self.open_to and not ipaddress.ip_address(found).is_global:
            raise PermissionError("it is an address of this machine or its neighbourhood")
        return found
