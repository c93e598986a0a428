from __future__ import annotations

import struct
import sys
from pathlib import Path

import pytest

from mlgate.adapters.hosts import sandbox
from mlgate.adapters.hosts.confinement import seccomp
from mlgate.adapters.hosts.sandbox import NONE, Sandbox, interpreter, probe
from mlgate.adapters.hosts.supervisor import ModelSupervisor
from mlgate.core.errors import FailedPrecondition, InvalidArgument
from mlgate.ports import ModelSpec


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="'chroot' is not one of: auto, bubblewrap, landlock, off"):
        probe("chroot")


def test_no_confinement_must_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_candidates", lambda setting: [])
    assert probe("auto").mode == NONE
    assert probe("off").mode == "off"


def test_without_a_sandbox_no_model_is_loaded(tmp_path: Path) -> None:
    supervisor = ModelSupervisor(tmp_path / "run", Sandbox(NONE, "no sandbox works on this machine"))
    try:
        with pytest.raises(FailedPrecondition, match="no sandbox works on this machine"):
            supervisor.load(ModelSpec("1", str(tmp_path), "SCIKIT_LEARN", sys.executable))
    finally:
        supervisor.close()


def test_a_sandbox_that_lets_something_through_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_candidates", lambda setting: [Sandbox("off", "pretends")])
    found = probe("auto")
    assert found.mode == NONE
    assert "a confined process could read a file of the server" in found.reason


def test_a_python_that_is_not_there_is_a_reason_to_read() -> None:
    with pytest.raises(FailedPrecondition, match="'/nowhere/python' cannot be run"):
        interpreter("/nowhere/python")


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_refuses_every_call_it_names(machine: str) -> None:
    """Run the program, as the kernel would, on each call number."""
    column, architecture = seccomp.ARCHITECTURES[machine]
    code = seccomp.program(machine, pid=77)
    for name, numbers in seccomp.DENIED.items():
        number = numbers[column]
        if number is not None:
            assert verdict(code, architecture, number) == seccomp.REFUSE | 1, name
    assert verdict(code, architecture, seccomp.CLONE3[column]) == seccomp.REFUSE | 38
    assert verdict(code, architecture, seccomp.CLONE[column], 17) == seccomp.REFUSE | 1
    assert verdict(code, architecture, seccomp.CLONE[column], 0x3D0F00) == seccomp.ALLOW
    assert verdict(code, architecture, seccomp.KILL[column], 77) == seccomp.ALLOW
    assert verdict(code, architecture, seccomp.KILL[column], 1) == seccomp.REFUSE | 1
    assert verdict(code, architecture, seccomp.KILL[column], 0xFFFFFFFF) == seccomp.REFUSE | 1
    assert verdict(code, architecture, seccomp.PRLIMIT[column], 0) == seccomp.ALLOW
    assert verdict(code, architecture, seccomp.PRLIMIT[column], 1) == seccomp.REFUSE | 1
    assert verdict(code, architecture, seccomp.IOCTL[column], 0, 0x5412) == seccomp.REFUSE | 1
    assert verdict(code, architecture, seccomp.IOCTL[column], 0, 0x541B) == seccomp.ALLOW
    assert verdict(code, architecture, 63) in (seccomp.ALLOW, seccomp.REFUSE | 1)
    assert verdict(code, 0x40000003, 1) == seccomp.KILL_PROCESS


def verdict(code: bytes, architecture: int, number: int, *arguments: int) -> int:
    """A classic BPF machine with the five instructions that the filter uses."""
    data = struct.pack("<IIQ6Q", number, architecture, 0, *arguments, *[0] * (6 - len(arguments)))
    at, accumulator = 0, 0
    while True:
        operation, if_true, if_false, value = struct.unpack_from("=HBBI", code, at * 8)
        at += 1
        if operation == seccomp.LOAD:
            (accumulator,) = struct.unpack_from("<I", data, value)
        elif operation == seccomp.RETURN:
            return int(value)
        else:
            holds = {
                seccomp.IF_EQUAL: accumulator == value,
                seccomp.IF_GREATER_OR_EQUAL: accumulator >= value,
                seccomp.IF_SET: bool(accumulator & value),
            }[operation]
            at += if_true if holds else if_false
