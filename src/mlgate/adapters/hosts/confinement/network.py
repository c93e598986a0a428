"""A job's network: loopback, ports on it behind which its gateway answers, nothing else.

Where there are no namespaces it stays in the machine's, and whoever holds the other end of the inherited unix socket is
asked for each of its sockets (`ask_there`).

The gateway (adapters/runners/gateway.py) is a process of the outer network. A socket belongs to the network in which it
was made, so those that the gateway listens on are made here and handed out through an inherited unix socket: no
process has to stand inside and relay bytes, and nothing of the gateway's is in the sandbox.
"""

from __future__ import annotations

import array
import ctypes
import os
import struct
from typing import Any

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET = 0x00020000, 0x10000000, 0x40000000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
SIOCSIFFLAGS, IFF_UP = 0x8914, 0x1
HOSTS = "/etc/hosts"


def enter(libc: Any, plan: dict[str, Any]) -> None:
    """Be in a network of the job's own (bubblewrap has made one already). Raises OSError."""
    door = plan["door"]
    if plan["mode"] == "loopback":
        return
    if plan["mode"] == "landlock":
        _unshare(libc)
        if door and os.path.exists(HOSTS):
            _mount(libc, None, b"/", MS_REC | MS_PRIVATE)
            _mount(libc, os.fsencode(door["hosts"]), HOSTS.encode(), MS_BIND)
    if door:
        _open_doors(door["fd"], door["ports"])


def _unshare(libc: Any) -> None:
    """Leave the machine's network for an empty one, with the right of root or that of a user namespace."""
    import fcntl
    import socket

    uid, gid = os.geteuid(), os.getegid()
    if libc.unshare(CLONE_NEWNET | CLONE_NEWNS) != 0:
        if libc.unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWNS) != 0:
            raise OSError(ctypes.get_errno(), "this machine gives a process no network of its own")
        for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
            with open("/proc/self/" + name, "w") as file:
                file.write(text)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", IFF_UP))


def _mount(libc: Any, source: bytes | None, target: bytes, flags: int) -> None:
    if libc.mount(source, target, None, ctypes.c_ulong(flags), None) != 0:
        raise OSError(ctypes.get_errno(), "a file cannot be put in the place of " + target.decode())


def _open_doors(fd: int, ports: list[int]) -> None:
    """Listen on loopback, and give the sockets to the gateway at the other end of `fd`, each with its port."""
    import socket  # not for models, which start faster without

    with socket.socket(fileno=fd) as gateway:
        for port in ports:
            with socket.create_server(("127.0.0.1", port), backlog=128) as door:
                _send(gateway, b"%5d" % port, door.fileno())


def ask_there(fd: int, listener: int) -> None:
    """Give the descriptor on which the kernel asks for this process's sockets to the other end of `fd`."""
    import socket

    with socket.socket(fileno=fd) as gateway:
        _send(gateway, b"asked", listener)
    os.close(listener)


def _send(gateway: Any, message: bytes, descriptor: int) -> None:
    import socket

    rights = array.array("i", [descriptor])
    gateway.sendmsg([message], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
