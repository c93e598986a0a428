"""The profile of jobs: what a whole program may do more than a model, and what no profile may."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mlgate.adapters.hosts import sandbox
from mlgate.adapters.hosts.confinement import seccomp
from mlgate.adapters.hosts.sandbox import NONE, JobLimits, Sandbox, for_jobs, interpreter, probe
from mlgate.core.errors import FailedPrecondition
from tests.hosts.test_sandbox import verdict

JOBS = [seccomp.JOB_ALONE, seccomp.JOB_SCOPED, seccomp.JOB_AMONG_OTHERS]
ALLOW, EPERM, NO_FAMILY = seccomp.ALLOW, seccomp.REFUSE | 1, seccomp.REFUSE | 97
STREAM, DATAGRAM, SEQUENCE, CLOEXEC = 1, 2, 5, 0o2000000


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("profile", JOBS)
def test_the_filter_of_a_job_refuses_all_but_what_its_profile_names(machine: str, profile: str) -> None:
    column, architecture = seccomp.ARCHITECTURES[machine]
    code = seccomp.program(machine, 77, profile)
    judged = {"socket", "socketpair"}
    for name, numbers in seccomp.DENIED.items():
        number = numbers[column]
        if number is not None and name not in judged:
            expected = ALLOW if name in seccomp.ALLOWED[profile] else EPERM
            assert verdict(code, architecture, number) == expected, name
    alone = profile == seccomp.JOB_ALONE
    table = {
        (2, STREAM, 0): ALLOW, (2, DATAGRAM, 0): ALLOW, (10, STREAM, 0): ALLOW,
        (1, STREAM, 0): ALLOW if alone else NO_FAMILY,
        (16, DATAGRAM, 0): ALLOW, (16, DATAGRAM, 9): EPERM, (16, DATAGRAM, 12): EPERM,
        (17, STREAM, 0): NO_FAMILY, (38, SEQUENCE, 0): NO_FAMILY, (40, STREAM, 0): NO_FAMILY,
    }  # fmt: skip
    for arguments, expected in table.items():
        assert verdict(code, architecture, seccomp.SOCKET[column], *arguments) == expected, arguments
    pair = seccomp.SOCKETPAIR[column]
    assert verdict(code, architecture, pair, 1, STREAM | CLOEXEC) == ALLOW
    assert verdict(code, architecture, pair, 1, DATAGRAM | CLOEXEC) == (ALLOW if alone else EPERM)


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("profile", JOBS)
def test_a_job_starts_processes_but_no_namespaces(machine: str, profile: str) -> None:
    column, architecture = seccomp.ARCHITECTURES[machine]
    code = seccomp.program(machine, 77, profile)
    clone = seccomp.CLONE[column]
    assert verdict(code, architecture, clone, 0x01200011) == ALLOW  # what fork is
    assert verdict(code, architecture, clone, 0x3D0F00) == ALLOW  # a thread
    for namespace in (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000):
        assert verdict(code, architecture, clone, namespace | 17) == EPERM, hex(namespace)
    assert verdict(code, architecture, seccomp.CLONE3[column]) == seccomp.REFUSE | 38


@pytest.mark.parametrize("profile", JOBS)
def test_signals_to_others_are_refused_where_nothing_else_keeps_them_in(profile: str) -> None:
    column, architecture = seccomp.ARCHITECTURES["x86_64"]
    code = seccomp.program("x86_64", 77, profile)
    expected = EPERM if profile == seccomp.JOB_AMONG_OTHERS else ALLOW
    for call in (seccomp.KILL, seccomp.TGKILL):
        assert verdict(code, architecture, call[column], 1) == expected
        assert verdict(code, architecture, call[column], 77) == ALLOW


def test_a_sandbox_that_lets_a_job_through_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_candidates", lambda setting: [Sandbox("off", "pretends")])
    found = probe("auto", for_jobs=True)
    assert found.mode == NONE
    assert "a confined process could read a file of the server" in found.reason


def test_where_jobs_cannot_be_confined_none_is_run(tmp_path: Path) -> None:
    nothing = Sandbox(NONE, "no sandbox works on this machine")
    assert for_jobs(nothing) is nothing
    with pytest.raises(FailedPrecondition, match=r"Jobs cannot be run: no sandbox works"):
        nothing.job_command(
            interpreter(sys.executable), [], read=[], work=str(tmp_path), temporary=str(tmp_path), limits=JobLimits(),
            door=None,
        )  # fmt: skip


def test_each_way_of_confinement_is_tried_with_a_job(confined: Sandbox) -> None:
    assert for_jobs(confined).mode == confined.mode
