"""`python -I -S launch.py <plan as JSON> <program> <arguments>`: give up what a model does not need, then exec.

It runs between the worker and the model process, and in bubblewrap mode inside the bubble. `-S` matters: site-packages
may hold `.pth` files of a stranger's package, which must not run before the limits stand. Exec matters too: the
program starts with a fresh memory image, so nothing of this script's is left to find.

The order is forced. The uid is changed while there are capabilities to change it with, changing it clears the
parent-death signal, and Landlock and seccomp want no_new_privs first. Any step that fails ends the launch: a model
that could not be confined is not started.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import json
import os
import resource
import signal
import sys
from typing import Any

PACKAGE = "mlgate_confinement"
PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_SECUREBITS, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 1, 24, 28, 38, 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
SECURE_NOROOT_LOCKED = 0b11
CAPABILITY_VERSION_3 = 0x20080522
LAST_CAPABILITY = 63

libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    plan, command = json.loads(sys.argv[1]), sys.argv[2:]
    landlock, seccomp, network = _load_siblings()  # now: their files cannot be read any more after the first
    if plan["mode"] != "off":
        if plan["job"]:
            network.enter(libc, plan)
        _confine(plan, landlock)
    else:
        _limit(plan["limits"])
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if plan["parent"] and os.getppid() != plan["parent"]:
        os._exit(1)  # the worker died before the signal was set
    if plan["mode"] != "off":
        asks = plan["job"] and plan["mode"] == "loopback"
        listener = seccomp.apply(libc, os.getpid(), _profile(plan, landlock, seccomp), asks)
        if asks and plan["door"]:  # without a door nobody answers, and there are no sockets
            network.ask_there(plan["door"]["fd"], listener)
    os.execv(command[0], command)


def _profile(plan: dict[str, Any], landlock: Any, seccomp: Any) -> str:
    if not plan["job"]:
        return str(seccomp.MODEL)
    if plan["mode"] == "bubblewrap":
        return str(seccomp.JOB_ALONE)
    is_scoped = landlock.version(libc) >= landlock.SCOPES_SIGNALS
    return str(seccomp.JOB_SCOPED if is_scoped else seccomp.JOB_AMONG_OTHERS)


def _confine(plan: dict[str, Any], landlock: Any) -> None:
    own = f"/proc/{os.getpid()}/cmdline"  # TensorFlow ends the process when it cannot read its own command line
    read = [*plan["read"], own] if os.path.exists(own) else plan["read"]
    ruleset = -1
    if plan["mode"] != "bubblewrap":
        ruleset = landlock.ruleset(libc, read, plan["write"], _ports(plan))
    uid = plan["uid"]
    is_other = os.geteuid() == 0 and _can_read_as(uid, plan["must_read"])
    if is_other:
        for folder in plan["own"]:
            os.chown(folder, uid, uid)
    _limit(plan["limits"])
    if os.geteuid() == 0:
        _drop_root(uid if is_other else None)
    _drop_capabilities()
    _prctl(PR_SET_NO_NEW_PRIVS, 1)
    if ruleset >= 0:
        landlock.restrict(libc, ruleset)


def _ports(plan: dict[str, Any]) -> Any:
    """The ports to which it may connect; None for all, in a network of its own."""
    if plan["job"] and plan["mode"] == "landlock":
        return None
    return plan["door"]["ports"] if plan["job"] and plan["door"] else ()


def _limit(limits: dict[str, int]) -> None:
    for name, value in limits.items():
        kind = getattr(resource, "RLIMIT_" + name)
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))


def _can_read_as(uid: int, paths: list[str]) -> bool:
    """Whether that user could run the interpreter and read the model: by trying, in a child."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1] == 0
    try:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
        for path in paths:
            _read_all(path)
    except BaseException:  # noqa: BLE001 - any failure means no, and this child must not return
        os._exit(1)
    os._exit(0)


def _read_all(path: str) -> None:
    if os.path.isdir(path):
        for name in os.listdir(path):
            _read_all(os.path.join(path, name))
    else:
        os.close(os.open(path, os.O_RDONLY))


def _drop_root(uid: int | None) -> None:
    """Become `uid`, or stay root in name only: no capability is to be had from an exec."""
    for capability in range(LAST_CAPABILITY + 1):
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)  # fails above the kernel's last one
    _prctl(PR_SET_SECUREBITS, SECURE_NOROOT_LOCKED)
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)


def _drop_capabilities() -> None:
    """Those of root, or of a user namespace."""
    libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    nothing = (ctypes.c_uint32 * 6)()
    if libc.capset(header, nothing) != 0:
        raise OSError(ctypes.get_errno(), "capabilities cannot be dropped")


def _prctl(option: int, value: int) -> None:
    zero = ctypes.c_ulong(0)
    if libc.prctl(option, ctypes.c_ulong(value), zero, zero, zero) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {option} failed")


def _load_siblings() -> list[Any]:
    folder = os.path.dirname(os.path.abspath(__file__))
    spec = importlib.util.spec_from_file_location(
        PACKAGE, os.path.join(folder, "__init__.py"), submodule_search_locations=[folder]
    )
    assert spec is not None
    assert spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules[PACKAGE] = package
    spec.loader.exec_module(package)
    return [importlib.import_module(PACKAGE + name) for name in (".landlock", ".seccomp", ".network")]


if __name__ == "__main__":
    main()
