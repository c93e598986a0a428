"""Landlock: the process keeps only the files it was given, and no TCP (https://docs.kernel.org/userspace-api/landlock.html).

What it does not cover, whatever its version, is closed elsewhere: UDP and unix sockets, and the calls that change a
file's mode, owner, times or attributes, by seccomp; the existence of files can be seen (`stat`), their contents not.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Sequence
from typing import Any

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # the same on every architecture
RULE_PATH_BENEATH, RULE_NET_PORT, QUERY_VERSION = 1, 2, 1

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, TRUNCATE, IOCTL_DEV = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 14, 1 << 15
MAKE_CHAR, MAKE_SOCK, MAKE_BLOCK = 1 << 6, 1 << 9, 1 << 11
FOR_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
KNOWN = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
CONNECT_TCP, BIND_AND_CONNECT_TCP, NAMES_PORTS = 0b10, 0b11, 4
ABSTRACT_SOCKETS_AND_SIGNALS, SCOPES_SIGNALS = 0b11, 6


class RulesetAttr(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class PathBeneathAttr(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("access", ctypes.c_uint64), ("parent", ctypes.c_int32))


class NetPortAttr(ctypes.Structure):
    _fields_ = (("access", ctypes.c_uint64), ("port", ctypes.c_uint64))


def version(libc: Any) -> int:
    """Which Landlock this kernel has. Raises OSError when it has none."""
    found = libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(QUERY_VERSION))
    if found < 1:
        raise OSError(ctypes.get_errno(), "this kernel has no Landlock")
    return int(found)


def ruleset(libc: Any, read: Sequence[str], write: Sequence[str], ports: Sequence[int] | None = ()) -> int:
    """A descriptor of the rules: read and run what is under `read`, also change what is under `write`, connect to TCP
    `ports`; nothing else. Raises OSError.

    Rules name ports and no addresses, so they cannot tell this machine from any other: who gives a port sees to it that
    the process's sockets lead nowhere else. None is for a process in a network of its own, any port.
    """
    found = version(libc)
    if ports and found < NAMES_PORTS:
        raise OSError(errno.ENOSYS, f"Landlock of this kernel has no rules for ports (version {found}; Linux 6.7 has)")
    handled = KNOWN[min(found, max(KNOWN))]
    attr = RulesetAttr(
        handled,
        BIND_AND_CONNECT_TCP if found >= NAMES_PORTS and ports is not None else 0,
        ABSTRACT_SOCKETS_AND_SIGNALS if found >= SCOPES_SIGNALS else 0,
    )
    size = 8 if found < NAMES_PORTS else 16 if found < SCOPES_SIGNALS else 24
    rules = libc.syscall(CREATE_RULESET, ctypes.byref(attr), ctypes.c_size_t(size), ctypes.c_uint32(0))
    if rules < 0:
        raise OSError(ctypes.get_errno(), "Landlock refused the ruleset")
    for path in read:
        _allow(libc, rules, path, handled & (EXECUTE | READ_FILE | READ_DIR))
    for path in write:
        _allow(libc, rules, path, handled & ~(EXECUTE | MAKE_CHAR | MAKE_SOCK | MAKE_BLOCK | IOCTL_DEV))
    for port in ports or ():
        rule = NetPortAttr(CONNECT_TCP, port)
        if libc.syscall(ADD_RULE, ctypes.c_int(rules), RULE_NET_PORT, ctypes.byref(rule), ctypes.c_uint32(0)) != 0:
            raise OSError(ctypes.get_errno(), f"Landlock refused the rule for port {port}")
    return int(rules)


def restrict(libc: Any, rules: int) -> None:
    if libc.syscall(RESTRICT_SELF, ctypes.c_int(rules), ctypes.c_uint32(0)) != 0:
        raise OSError(ctypes.get_errno(), "Landlock could not be applied")
    os.close(rules)


def _allow(libc: Any, rules: int, path: str, access: int) -> None:
    parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(parent).st_mode):
            access &= FOR_FILES
        rule = PathBeneathAttr(access, parent)
        if libc.syscall(ADD_RULE, ctypes.c_int(rules), RULE_PATH_BENEATH, ctypes.byref(rule), ctypes.c_uint32(0)) != 0:
            raise OSError(ctypes.get_errno(), "Landlock refused a rule", path)
    finally:
        os.close(parent)
