"""Sockets for a job that has no network of its own: made outside, one by one, each bound to this machine's loopback.

Where a container forbids namespaces, a job's process is in the machine's network. Its seccomp filter stops every call
of `socket` and the kernel asks here (seccomp_unotify(2)): the answer is a TCP socket of IPv4 that is bound to the
device `lo`, so its packets never leave the machine, whatever address it connects to. Only a process with CAP_NET_RAW
could undo that (socket(7), SO_BINDTODEVICE). To which port it may connect is Landlock's rule in the job: its gateway's.

Nothing of the job's memory is read: family, type and protocol are in registers, so there is nothing to change behind
this process's back, and no right over the job is needed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
import struct
import threading
from contextlib import suppress

RECEIVE, SEND, ADD_DESCRIPTOR = 0xC0502100, 0xC0182101, 0x40182103
_NOTIFICATION, _ARGUMENTS, _RESPONSE = struct.Struct("=QII"), struct.Struct("=QQQ"), struct.Struct("=QqiI")
_SIZE, _ARGUMENTS_AT = 80, 32
_DESCRIPTOR, _ANSWERS = struct.Struct("=QIIII"), 2
_FLAGS = socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
#: A packet to another machine is lost on loopback: so often it is sent again before the job is told (7 seconds).
_ATTEMPTS = 2


def answer_through(outer: socket.socket) -> None:
    """Answer on each descriptor that comes through a unix socket, as confinement/network.py sends them."""
    while True:
        _, descriptors, _, _ = socket.recv_fds(outer, 5, 1)
        if not descriptors:
            return
        threading.Thread(target=answer, args=descriptors, daemon=True, name="sockets").start()


def answer(listener: int) -> None:
    """Give sockets to whom the kernel asks for, until no process is left that could ask; closes the descriptor."""
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    with open(listener, "rb", buffering=0):
        while True:
            [(_, events)] = poll.poll()
            if not events & select.POLLIN:
                return
            asked = bytearray(_SIZE)
            try:
                fcntl.ioctl(listener, RECEIVE, asked, True)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.EINTR):  # who asked has ended
                    continue
                raise
            _answer(listener, asked)


def _answer(listener: int, asked: bytearray) -> None:
    id_, _, _ = _NOTIFICATION.unpack_from(asked)
    family, kind, protocol = (value & 0xFFFFFFFF for value in _ARGUMENTS.unpack_from(asked, _ARGUMENTS_AT))
    try:
        with _made(family, kind, protocol) as made:
            close = os.O_CLOEXEC if kind & socket.SOCK_CLOEXEC else 0
            fcntl.ioctl(listener, ADD_DESCRIPTOR, _DESCRIPTOR.pack(id_, _ANSWERS, made.fileno(), 0, close))
    except OSError as error:
        with suppress(OSError):  # who asked has ended, or has its answer
            number = error.errno or errno.EACCES
            fcntl.ioctl(listener, SEND, _RESPONSE.pack(id_, 0, -number, 0))


def _made(family: int, kind: int, protocol: int) -> socket.socket:
    """Raises OSError for what is no TCP over IPv4: Landlock's rules for ports know nothing else."""
    if family != socket.AF_INET:
        raise OSError(errno.EAFNOSUPPORT, "")
    if kind & ~_FLAGS != socket.SOCK_STREAM or protocol not in (0, socket.IPPROTO_TCP):
        raise OSError(errno.EPROTONOSUPPORT, "")
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo\0")
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, _ATTEMPTS)
        made.setblocking(not kind & socket.SOCK_NONBLOCK)
    except OSError:
        made.close()
        raise
    return made
