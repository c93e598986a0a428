"""The job's way out: one small HTTP server for one job, outside the sandbox, in the job's keeper.

    gateway = Gateway("http://127.0.0.1:8080", token, account="x@p.iam.gserviceaccount.com", project="p", directory=...)
    gateway.start()
    command = sandbox.job_command(interpreter(python), ["-m", "trainer.task", ...], read=[packages, *gateway.read],
                                  work=..., temporary=..., limits=JobLimits(), door=gateway.door())
    environment = sandbox.job_environment(...) | gateway.environment() | {"TF_CONFIG": ...}
    subprocess.Popen(command, env=environment, cwd=work, pass_fds=gateway.pass_fds, start_new_session=True)
    ...
    gateway.close()        # at the job's end: what it still asks for fails

Theory of operation. A job's network has loopback and nothing else. confinement/network.py opens ports there and hands
the listening sockets to the gateway, which has a thread for each connection. Where there are no such networks it opens
a port of the machine's loopback itself, and answers only sockets that the server's own user made. Clients come to it in
three ways:

    plain    STORAGE_EMULATOR_HOST, GCE_METADATA_HOST and MLGATE_SERVER name it: requests as to any server
    by name  /etc/hosts says that Google's hosts, which some have compiled in (TensorFlow), and this server's public
             address are here: ports 80 and 443, the latter with a certificate of the job's own authority, which the
             environment tells clients to trust
    proxied  http_proxy and https_proxy name it, where there are no such names (in the machine's network: loopback,
             off) or the job may go further:
             requests with an address in full, and CONNECT, answered as the host itself where that is one of ours

All of them become the same thing: a request that is read strictly (wire.py), allowed or not by its method and path
(routes.py), stripped of credentials, and written anew to the one upstream with the token of the job's account. The
token itself is given to nobody: what asks for one gets a placeholder, which the gateway would drop like any other.

`open_to` are patterns of host names that the job may reach beside (`*` for any), by the proxies: without the token, and
never on this machine or beside it unless a host is named in full.
"""

from __future__ import annotations

import os
import selectors
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from mlgate.adapters.hosts import sockets
from mlgate.adapters.hosts.sandbox import BUBBLEWRAP, LOOPBACK, OFF, Door
from mlgate.adapters.runners import routes, wire
from mlgate.adapters.runners.certificates import Authority
from mlgate.adapters.runners.exchange import NOTHING, Exchange
from mlgate.adapters.runners.origins import Origin, Reach, origin_of, public
from mlgate.adapters.runners.relay import Relay
from mlgate.adapters.runners.wire import Gone, Head, Malformed

#: The ports inside the job's own network: one above those that are handed out by chance, and those of the names.
PORT, PLAIN, SECURE = 61080, 80, 443
CONNECTIONS, IDLE_SECONDS = 128, 600.0


class Gateway:
    """See the module. `directory` is private to the keeper; `token` is asked for each request that goes on."""

    def __init__(
        self,
        upstream: str,
        token: Callable[[], str],
        *,
        account: str,
        project: str,
        directory: Path,
        public_url: str = "",
        open_to: Iterable[str] = (),
        mode: str = BUBBLEWRAP,
    ) -> None:
        """`mode` is the sandbox's. For jobs in the machine's network (loopback, off) the gateway opens a port of it."""
        names, self._plain, self._secure = {*routes.NAMES}, {PORT, PLAIN}, {SECURE}
        published = public(public_url)
        if published is not None:
            names.add(published.host)
            (self._secure if published.scheme == "https" else self._plain).add(published.port)
        self._reach = Reach(sorted(names), tuple(open_to))
        self._bundle, self._hosts = directory / "authorities.pem", directory / "hosts"
        self._authority = Authority(self._reach.names)
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._slots = threading.BoundedSemaphore(CONNECTIONS)
        self._is_closed = False
        self._inner: socket.socket | None = None
        self._is_shared = mode in (OFF, LOOPBACK)
        if mode != OFF:
            self._inner, self._outer = socket.socketpair()
        if self._is_shared:
            self._shared = _free_everywhere()
        port = self._shared.getsockname()[1] if self._is_shared else PORT
        self._ports = (port,) if self._is_shared else tuple(sorted(self._plain | self._secure))
        own = Origin("http", f"127.0.0.1:{port}")
        self._here, self._project = own.authority, project
        self._relay = Relay(
            upstream, token, account=account, project=project, public_url=public_url, own=own, reach=self._reach
        )

    # ------------------------------------------------------------------------------------------------- its keeper

    def start(self) -> None:
        """Be ready for the job. Raises OSError."""
        self._bundle.write_bytes(self._authority.bundle(with_system=bool(self._reach.open_to)))
        self._hosts.write_text(f"127.0.0.1 localhost job {' '.join(self._reach.names)}\n::1 localhost\n")
        for file in (self._bundle, self._hosts):
            file.chmod(0o644)  # the job runs as another user
        if self._is_shared:
            self._spawn(partial(self._accept, self._serve_plain), self._shared)
        if self._inner is not None:
            self._spawn(sockets.answer_through if self._is_shared else self._receive_doors, self._outer)

    def close(self) -> None:
        """End every connection, and answer none from now on."""
        with self._lock:
            self._is_closed = True
            known = [*self._sockets]
        if self._inner is not None:
            known += [self._outer]
            self._inner.close()
        if self._is_shared:
            known += [self._shared]
        for one in known:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def door(self) -> Door | None:
        """What `Sandbox.job_command` must know."""
        if self._inner is None:
            return None
        return Door(self._inner.fileno(), self._ports, str(self._hosts))

    @property
    def pass_fds(self) -> tuple[int, ...]:
        """What the started command must inherit."""
        return (self._inner.fileno(),) if self._inner else ()

    @property
    def read(self) -> list[str]:
        """The paths that the job must be able to read."""
        return [str(self._bundle)]

    def environment(self) -> dict[str, str]:
        """What the job's process finds in its environment, by which the clients find the gateway."""
        here = self._here
        url, bundle = f"http://{here}", str(self._bundle)
        # httplib2 fails on any proxy unless PySocks is there: so none where names do
        proxies = ("http_proxy", "https_proxy", "HTTPS_PROXY") if self._reach.open_to or self._is_shared else ()
        direct = ",".join(("localhost", "127.0.0.1", "::1", *(() if self._is_shared else self._reach.names)))
        return {
            "STORAGE_EMULATOR_HOST": url,
            **dict.fromkeys(("GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT", "CLOUDSDK_CORE_PROJECT"), self._project),
            **dict.fromkeys(("GCE_METADATA_HOST", "GCE_METADATA_ROOT", "GCE_METADATA_IP"), here),
            # gcsfs
            "GCSFS_DEFAULT_PROJECT": self._project,
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
            **dict.fromkeys(("FSSPEC_GCS_TOKEN", "FSSPEC_GS_TOKEN"), "anon"),
            # TensorFlow
            "GOOGLE_AUTH_TOKEN_FOR_TESTING": routes.PLACEHOLDER,
            # whatever speaks to hosts that are compiled in
            **dict.fromkeys(proxies, url),
            **dict.fromkeys(("no_proxy", "NO_PROXY") if proxies else (), direct),
            **dict.fromkeys(
                (
                    "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "HTTPLIB2_CA_CERTS",
                    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
                ),
                bundle,
            ),
            # our own command line
            "MLGATE_SERVER": url,
            "MLGATE_TOKEN": routes.PLACEHOLDER,
            "MLGATE_PROJECT": self._project,
        }  # fmt: skip

    # ------------------------------------------------------------------------------------------------ connections

    @contextmanager
    def _known(self, one: socket.socket) -> Iterator[None]:
        """A socket that `close` ends. Raises Gone when that was before."""
        with self._lock:
            if self._is_closed:
                raise Gone
            self._sockets.add(one)
        try:
            yield
        finally:
            with self._lock:
                self._sockets.discard(one)

    def _spawn(self, work: Callable[[socket.socket], None], one: socket.socket) -> None:
        """Work on a socket in a thread of its own, and close it then."""
        threading.Thread(target=self._with, args=(work, one), daemon=True, name="gateway").start()

    def _with(self, work: Callable[[socket.socket], None], one: socket.socket) -> None:
        with one, suppress(OSError, Gone), self._known(one):
            work(one)

    def _receive_doors(self, outer: socket.socket) -> None:
        while True:
            message, descriptors, _, _ = socket.recv_fds(outer, 5, 1)  # as network.py writes them
            if not descriptors:
                return
            serve = self._serve_secure if int(message) in self._secure else self._serve_plain
            self._spawn(partial(self._accept, serve), socket.socket(fileno=descriptors[0]))

    def _accept(self, serve: Callable[[socket.socket], None], door: socket.socket) -> None:
        while True:
            self._slots.acquire()
            try:
                connection, _ = door.accept()
            except OSError:
                self._slots.release()
                return
            if self._is_shared and not _is_own(connection):
                connection.close()
                self._slots.release()
                continue
            connection.settimeout(IDLE_SECONDS)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._spawn(serve, connection)

    def _serve_plain(self, connection: socket.socket) -> None:
        try:
            self._converse(connection, None)
        finally:
            self._slots.release()

    def _serve_secure(self, connection: socket.socket) -> None:
        try:
            self._answer_as("", connection)
        finally:
            self._slots.release()

    def _answer_as(self, host: str, connection: socket.socket) -> None:
        """Speak TLS as a host; as the one that the caller names when it is empty. Raises SSLError for one unknown."""
        named = [host]

        def choose(inside: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> int | None:
            named[0] = (name or "").lower()
            if not self._reach.is_here(named[0]):
                return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
            inside.context = self._authority.server(named[0])
            return None

        if host:
            context = self._authority.server(host)
        else:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.sni_callback = choose
        with context.wrap_socket(connection, server_side=True) as inside, self._known(inside):
            self._converse(inside, Origin("https", named[0]))

    def _converse(self, connection: socket.socket, tunnel: Origin | None) -> None:
        """Answer the requests of a connection, one after the other; inside a tunnel all are for its host."""
        with connection.makefile("rb") as stream:
            while True:
                try:
                    head = wire.read_head(stream)
                    if head is None:
                        return
                    if head.method == "CONNECT" and tunnel is None:
                        break
                    exchange = Exchange(connection, stream, head)
                    self._relay.answer(exchange, tunnel)
                except Malformed as error:
                    Exchange(connection, stream, NOTHING).refuse(400, str(error))
                    return
                if not exchange.is_reusable():
                    exchange.linger()
                    return
        self._connect(connection, head)

    def _connect(self, connection: socket.socket, head: Head) -> None:
        """Answer as the host that is asked for, or let the bytes through to it."""
        wanted = origin_of("https", head.target)
        if wanted and self._reach.is_here(wanted.host) and wanted.port in self._secure:
            connection.sendall(_ESTABLISHED)
            self._answer_as(wanted.host, connection)
        elif wanted and self._reach.is_open(wanted.host):
            try:
                there = socket.create_connection((self._reach.address(wanted), wanted.port), 30)
            except OSError as error:
                _say(connection, 502, f"There is no way to {wanted.host}: {error}.")
                return
            with there:
                connection.sendall(_ESTABLISHED)
                _pump(connection, there)
        else:
            _say(connection, 403, f'A job has no network but its own server: "{head.target[:200]}" is out of reach.')


def _free_everywhere() -> socket.socket:
    """A socket that listens on a port of loopback which nobody has on any address of this machine: all of them can be
    reached through loopback."""
    with socket.socket() as other:
        other.bind(("0.0.0.0", 0))
        port = other.getsockname()[1]
    return socket.create_server(("127.0.0.1", port))


def _is_own(connection: socket.socket) -> bool:
    """Whether whoever connected runs as the server's own user, as the makers of a job's sockets do: others on this
    machine must not speak in the name of the job's account."""
    with suppress(OSError), open("/proc/net/tcp") as table:  # it may be gone by now
        there, here = (_as_the_kernel_writes(*name) for name in (connection.getpeername(), connection.getsockname()))
        for line in table:
            _, local, remote, _, _, _, _, uid, *_ = line.split()
            if (local, remote) == (there, here):
                return int(uid) == os.getuid()
    return False


def _as_the_kernel_writes(host: str, port: int) -> str:
    return f"{int.from_bytes(socket.inet_aton(host), sys.byteorder):08X}:{port:04X}"


_ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


def _say(connection: socket.socket, status: int, message: str) -> None:
    with connection.makefile("rb") as stream:
        Exchange(connection, stream, NOTHING).refuse(status, message)


def _pump(one: socket.socket, other: socket.socket) -> None:
    """Let bytes through both ways until either side has ended."""
    with selectors.DefaultSelector() as selector:
        selector.register(one, selectors.EVENT_READ, other)
        selector.register(other, selectors.EVENT_READ, one)
        while True:
            ready = selector.select(IDLE_SECONDS)
            if not ready:
                return
            for key, _ in ready:
                data = key.fileobj.recv(wire.PIECE)  # type: ignore[union-attr]
                if not data:
                    return
                key.data.sendall(data)
