"""`python container.py COMMAND`: run a command as an unprivileged container does: no namespaces, no mounts, few rights.

The filter is made by the sandbox's own few lines (confinement/seccomp.py), of the calls that Docker's default profile
refuses to a container; the capabilities that are left are those that Docker leaves.
"""

from __future__ import annotations

import ctypes
import os
import sys

from mlgate.adapters.hosts.confinement import seccomp

REFUSED = (
    "unshare", "setns", "mount", "umount2", "pivot_root", "open_tree", "move_mount", "fsopen", "fsmount", "fsconfig",
    "mount_setattr", "pidfd_getfd", "kcmp", "process_madvise", "bpf", "perf_event_open", "userfaultfd", "add_key",
    "request_key", "keyctl", "name_to_handle_at", "open_by_handle_at", "quotactl", "init_module", "finit_module",
)  # fmt: skip
#: chown, dac_override, fowner, fsetid, kill, setgid, setuid, setpcap, net_bind_service, net_raw, sys_chroot, mknod,
#: audit_write, setfcap
LEFT = {0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31}
_DROP_FROM_BOUNDING, _NO_NEW_PRIVILEGES = 24, 38


def program(machine: str) -> bytes:
    column, _ = seccomp.ARCHITECTURES[machine]
    code = [seccomp._op(seccomp.LOAD, seccomp.NUMBER)]
    for name in REFUSED:
        number = seccomp.DENIED[name][column]
        if number is not None:
            code += seccomp._when(number, [seccomp._op(seccomp.RETURN, seccomp.REFUSE | 1)])
    code += seccomp._when(seccomp.CLONE3[column], [seccomp._op(seccomp.RETURN, seccomp.REFUSE | 38)])
    new = [seccomp._argument(0), seccomp._op(seccomp.IF_SET, seccomp.NEW_NAMESPACES, 0, 1), *seccomp._refuse_or_allow()]
    return b"".join([*code, *seccomp._when(seccomp.CLONE[column], new), seccomp._op(seccomp.RETURN, seccomp.ALLOW)])


def main() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() == 0:
        for capability in set(range(64)) - LEFT:
            libc.prctl(_DROP_FROM_BOUNDING, capability, 0, 0, 0)
    code = program(os.uname().machine)
    buffer = ctypes.create_string_buffer(code, len(code))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))

    filter_ = Program(len(code) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    zero = ctypes.c_ulong(0)
    # without no_new_privs, which a container has not either, this takes a right: then the first one is enough
    done = libc.prctl(seccomp.PR_SET_SECCOMP, ctypes.c_ulong(2), ctypes.byref(filter_), zero, zero)
    if done != 0 and libc.prctl(_NO_NEW_PRIVILEGES, ctypes.c_ulong(1), zero, zero, zero) == 0:
        done = libc.prctl(seccomp.PR_SET_SECCOMP, ctypes.c_ulong(2), ctypes.byref(filter_), zero, zero)
    if done != 0:
        raise OSError(ctypes.get_errno(), "the filter was refused")
    os.execv(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
