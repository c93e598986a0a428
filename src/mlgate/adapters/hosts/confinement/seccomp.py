"""A seccomp filter: the system calls that a process which only reads, computes and answers never makes.

It refuses (EPERM) rather than kills, since libraries try things and carry on: a fork to ask for the processor's name,
a socket to look for a debugger. A call of another architecture's numbering kills, for its numbers mean other things.

- No new socket and no connect. The process lives on the sockets it was given, so UDP, unix sockets and TCP on kernels
  whose Landlock lacks it are all closed at once.
- No new process, only threads: a fork bomb is refused at its first fork. clone3 does not exist (ENOSYS), because its
  flags are behind a pointer and the C library then falls back to clone, whose flags can be read here.
- Signals, limits and CPU affinity for itself only.
- Nothing that changes a file's mode, owner, times or attributes: Landlock leaves those open, and with the server's own
  uid a model could make the database unreadable.
- Memory that no limit counts (memfd, System V), kernel attack surface (io_uring, bpf, userfaultfd, keyrings, mounts).

A job is a whole program: it may start processes (but no namespaces) and open sockets of the common families, in a
network of its own (see launch.py). The rest is refused to it, too, unless it has files and processes of its own.

Where it has no network of its own, each socket is asked for (hosts/sockets.py): the kernel stops the call and tells the
holder of a descriptor, who answers with a socket that leads nowhere but to this machine. Which port it leads to is
Landlock's rule. What that rule does not see is refused here: connections opened by sending data, sockets that become
such of another protocol, and servers.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import Any

# name: number on x86_64, number on aarch64 (None: no such call there)
DENIED: dict[str, tuple[int | None, int | None]] = {
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201), "socketpair": (53, 199),
    "fork": (57, None), "vfork": (58, None), "kcmp": (312, 272), "ptrace": (101, 117),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "process_madvise": (440, 440),
    "process_mrelease": (448, 448), "tkill": (200, 130), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240), "pidfd_send_signal": (424, 424), "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438), "setpriority": (141, 140), "ioprio_set": (251, 30), "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119), "sched_setattr": (314, 274), "move_pages": (279, 239),
    "migrate_pages": (256, 238), "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194),
    "shmat": (30, 196), "semget": (64, 190), "msgget": (68, 186), "mq_open": (240, 180), "chmod": (90, None),
    "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, None), "fchown": (93, 55),
    "lchown": (94, None), "fchownat": (260, 54), "utime": (132, None), "utimes": (235, None),
    "futimesat": (261, None), "utimensat": (280, 88), "setxattr": (188, 5), "lsetxattr": (189, 6),
    "fsetxattr": (190, 7), "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16),
    "setxattrat": (463, 463), "removexattrat": (466, 466), "truncate": (76, 45), "mknod": (133, None),
    "mknodat": (259, 33), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427), "bpf": (321, 280), "userfaultfd": (323, 282), "perf_event_open": (298, 241),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219), "mount": (165, 40), "umount2": (166, 39),
    "pivot_root": (155, 41), "chroot": (161, 51), "open_tree": (428, 428), "move_mount": (429, 429),
    "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433),
    "mount_setattr": (442, 442), "unshare": (272, 97), "setns": (308, 268), "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265), "init_module": (175, 105), "finit_module": (313, 273),
    "delete_module": (176, 106), "kexec_load": (246, 104), "kexec_file_load": (320, 294), "reboot": (169, 142),
    "swapon": (167, 224), "swapoff": (168, 225), "acct": (163, 89), "quotactl": (179, 60),
    "quotactl_fd": (443, 443), "syslog": (103, 116), "vhangup": (153, 58), "personality": (135, 92),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "clock_adjtime": (305, 266), "adjtimex": (159, 171),
    "sethostname": (170, 161), "setdomainname": (171, 162), "iopl": (172, None), "ioperm": (173, None),
    "modify_ldt": (154, None), "uselib": (134, None), "fanotify_init": (300, 262), "lookup_dcookie": (212, 18),
}  # fmt: skip
#: Profiles. A job is ALONE where it sees no files and processes but its own; else others' processes are out of its
#: reach by Landlock (SCOPED), or, on kernels whose Landlock lacks that, by the rules for signals (AMONG_OTHERS).
MODEL, JOB_ALONE, JOB_SCOPED, JOB_AMONG_OTHERS = "model", "job alone", "job scoped", "job among others"
_JOB = frozenset({"socket", "socketpair", "connect", "bind", "listen", "fork", "vfork"})
#: Calls of DENIED that a profile may make; sockets have rules of their own.
ALLOWED: dict[str, frozenset[str]] = {
    MODEL: frozenset(),
    JOB_AMONG_OTHERS: _JOB,
    JOB_SCOPED: _JOB,
    JOB_ALONE: _JOB | {
        "chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "fchown", "lchown", "fchownat", "utime", "utimes",
        "futimesat", "utimensat", "setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr", "fremovexattr",
        "setxattrat", "removexattrat", "truncate", "mknod", "mknodat", "tkill", "rt_sigqueueinfo",
        "rt_tgsigqueueinfo", "pidfd_open", "pidfd_send_signal", "setpriority", "ioprio_set", "sched_setparam",
        "sched_setscheduler", "sched_setattr",
    },
}  # fmt: skip
#: Calls that a job may not make where it has no network of its own; and those that send, with the number of their
#: argument for flags.
SERVERS = frozenset({"bind", "listen"})
SENDING = (((44, 206), 3), ((46, 211), 2), ((307, 269), 3))
MSG_FASTOPEN = 0x20000000
#: TCP_ULP: the socket would become one of SMC, of which no rule knows.
SET_OPTION, LEVEL_TCP, OTHER_PROTOCOL = (54, 208), 6, 31
SOCKET, SOCKETPAIR = (41, 198), (53, 199)
AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, NETLINK_ROUTE = 1, 2, 10, 16, 0
DATAGRAM_BIT = 0b10  # of SOCK_DGRAM and SOCK_RAW, not of SOCK_STREAM and SOCK_SEQPACKET
NEW_NAMESPACES = 0x7E020000
CLONE, CLONE3 = (56, 220), (435, 435)
KILL, TGKILL = (62, 129), (234, 131)
PRLIMIT, AFFINITY = (302, 261), (203, 122)
IOCTL, FCNTL = (16, 29), (72, 25)

ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
X32_BIT = 0x40000000
CLONE_THREAD = 0x00010000
PUSH_TO_TERMINAL = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX
SIGNAL_OWNER = (8, 15)  # F_SETOWN, F_SETOWN_EX: signals to others on I/O

LOAD, IF_EQUAL, IF_GREATER_OR_EQUAL, IF_SET, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
ALLOW, REFUSE, KILL_PROCESS, ASK = 0x7FFF0000, 0x00050000, 0x80000000, 0x7FC00000
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data; an argument is 8 bytes, low half first

PR_SET_SECCOMP, MODE_FILTER = 22, 2
SECCOMP, SET_MODE_FILTER = (317, 277), 1
#: A signal does not interrupt a call that somebody else is answering (Linux 5.19).
NEW_LISTENER, WAIT_KILLABLE = 1 << 3, 1 << 5


def program(machine: str, pid: int, profile: str = MODEL, asks: bool = False) -> bytes:
    """The filter for a process `pid` (exec keeps it), as an array of struct sock_filter; `asks` is for a job that has
    no network of its own."""
    column, architecture = ARCHITECTURES[machine]
    code = [
        _op(LOAD, ARCHITECTURE),
        _op(IF_EQUAL, architecture, 1, 0),
        _op(RETURN, KILL_PROCESS),
        _op(LOAD, NUMBER),
    ]
    if machine == "x86_64":
        code += [_op(IF_GREATER_OR_EQUAL, X32_BIT, 0, 1), _op(RETURN, KILL_PROCESS)]
    allowed = ALLOWED[profile] - (SERVERS if asks else frozenset())
    for name, numbers in DENIED.items():
        number = numbers[column]
        if number is not None and name not in allowed:
            code += _when(number, [_op(RETURN, REFUSE | errno.EPERM)])
    code += _when(CLONE3[column], [_op(RETURN, REFUSE | errno.ENOSYS)])
    if profile == MODEL:
        code += _when(CLONE[column], [_argument(0), _op(IF_SET, CLONE_THREAD, 1, 0), *_refuse_or_allow()])
    else:
        code += _when(CLONE[column], [_argument(0), _op(IF_SET, NEW_NAMESPACES, 0, 1), *_refuse_or_allow()])
        code += _asked_sockets(column) if asks else _sockets(column, profile)
    for call in (KILL, TGKILL) if profile in (MODEL, JOB_AMONG_OTHERS) else ():
        code += _when(call[column], [_argument(0), _op(IF_EQUAL, pid, 1, 0), *_refuse_or_allow()])
    for call in (PRLIMIT, AFFINITY) if profile != JOB_ALONE else ():
        own = [_argument(0), _op(IF_EQUAL, pid, 2, 0), _op(IF_EQUAL, 0, 1, 0), *_refuse_or_allow()]
        code += _when(call[column], own)
    for call, (one, other) in ((IOCTL, PUSH_TO_TERMINAL), (FCNTL, SIGNAL_OWNER)):
        bad = [_argument(1), _op(IF_EQUAL, one, 1, 0), _op(IF_EQUAL, other, 0, 1), *_refuse_or_allow()]
        code += _when(call[column], bad)
    return b"".join([*code, _op(RETURN, ALLOW)])


def _sockets(column: int, profile: str) -> list[bytes]:
    """A job's sockets: TCP and UDP, questions to the kernel about interfaces; unix sockets by name only where all that
    have a name are its own, else in connected pairs (a datagram socket can be turned to any name)."""
    families = (AF_INET, AF_INET6, *((AF_UNIX,) if profile == JOB_ALONE else ()))
    code = [_argument(0)]
    for family in families:
        code += [_op(IF_EQUAL, family, 0, 1), _op(RETURN, ALLOW)]
    code += [_op(IF_EQUAL, AF_NETLINK, 1, 0), _op(RETURN, REFUSE | errno.EAFNOSUPPORT)]
    code += [_argument(2), _op(IF_EQUAL, NETLINK_ROUTE, 1, 0), *_refuse_or_allow()]
    return [*_when(SOCKET[column], code), *(_pairs(column) if profile != JOB_ALONE else [])]


def _asked_sockets(column: int) -> list[bytes]:
    """Sockets of IPv4 that somebody else makes, connected pairs, and no connection but by `connect`."""
    families = [_argument(0), _op(IF_EQUAL, AF_INET, 0, 1), _op(RETURN, ASK), _op(RETURN, REFUSE | errno.EAFNOSUPPORT)]
    code = [*_when(SOCKET[column], families), *_pairs(column)]
    for numbers, flags in SENDING:
        code += _when(numbers[column], [_argument(flags), _op(IF_SET, MSG_FASTOPEN, 0, 1), *_refuse_or_allow()])
    option = [_argument(1), _op(IF_EQUAL, LEVEL_TCP, 1, 0), _op(RETURN, ALLOW), _argument(2)]
    return [*code, *_when(SET_OPTION[column], [*option, _op(IF_EQUAL, OTHER_PROTOCOL, 0, 1), *_refuse_or_allow()])]


def _pairs(column: int) -> list[bytes]:
    return _when(SOCKETPAIR[column], [_argument(1), _op(IF_SET, DATAGRAM_BIT, 0, 1), *_refuse_or_allow()])


def apply(libc: Any, pid: int, profile: str = MODEL, asks: bool = False) -> int:
    """Filter this process from now on, exec included; needs no_new_privs. Returns the descriptor on which it is asked
    for sockets, or -1. Raises OSError."""
    machine = os.uname().machine if struct.calcsize("P") == 8 else "32-bit"
    if machine not in ARCHITECTURES:
        raise OSError(errno.ENOSYS, "no seccomp filter is known for this processor: " + machine)
    code = program(machine, pid, profile, asks)
    buffer = ctypes.create_string_buffer(code, len(code))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))

    filter_ = Program(len(code) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    if asks:
        for flags in (NEW_LISTENER | WAIT_KILLABLE, NEW_LISTENER):
            number = SECCOMP[ARCHITECTURES[machine][0]]
            listener = libc.syscall(number, SET_MODE_FILTER, ctypes.c_uint(flags), ctypes.byref(filter_))
            if listener >= 0:
                return int(listener)
        raise OSError(ctypes.get_errno(), "nobody can be asked for sockets by seccomp")
    zero = ctypes.c_ulong(0)
    if libc.prctl(PR_SET_SECCOMP, ctypes.c_ulong(MODE_FILTER), ctypes.byref(filter_), zero, zero) != 0:
        raise OSError(ctypes.get_errno(), "the seccomp filter was refused")
    return -1


def _op(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _argument(index: int) -> bytes:
    return _op(LOAD, ARGUMENTS + 8 * index)


def _when(number: int, then: list[bytes]) -> list[bytes]:
    return [_op(IF_EQUAL, number, 0, len(then)), *then]


def _refuse_or_allow() -> list[bytes]:
    return [_op(RETURN, REFUSE | errno.EPERM), _op(RETURN, ALLOW)]
