"""A training job, from QUEUED (or wherever an earlier runner left it) to its end.

1. PREPARING: find the packages with the rights of the project's service agent, and the runtime's environment.
2. Wait for as many slots as the job has processes, and start the execution: the job is RUNNING.
3. Follow it: its output becomes the log, cancelling reaches it, its end is the job's.
4. The end of job and task in one transaction; then the execution is forgotten.

Each step may be the last before the runner is killed. What was decided is in the job's record (`hidden["run"]`), what
runs is known by its key, so whoever claims the job next goes on from there. No user code is begun twice.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mlgate.core import jobs
from mlgate.core.errors import RpcError
from mlgate.core.names import project_id_of
from mlgate.core.wire import parse_timestamp
from mlgate.executions import Execution, JobProcess, JobRunner
from mlgate.ports import Blobs, Clock, Environments, Optimizer, Store, Task
from mlgate.runner.claimed import Claimed, LostLease
from mlgate.runner.contents import framework_of
from mlgate.runner.watched import Watched
from mlgate.service_agents import ServiceAgents
from mlgate.settings import Settings
from mlgate.slots import Slots
from mlgate.snapshot import Snapshot

Json = dict[str, Any]
POLL_SECONDS = 0.25
#: Where the processes of a job find each other, inside their own loopback network.
FIRST_PORT = 2222
MAX_PACKAGE_BYTES = 1 << 30
ELSEWHERE = (
    "The server that ran the job has been silent for longer than its processes go on alone (MLGATE_JOB_PATIENCE). How "
    "far it came is not known, so it is not run again."
)


@dataclass(frozen=True)
class Parts:
    """What every job needs of the outside."""

    store: Store
    snapshot: Snapshot
    blobs: Blobs
    runner: JobRunner
    environments: Environments
    optimizer: Optimizer
    clock: Clock
    settings: Settings
    slots: Slots
    #: The name of this data directory's runner: where a job's processes are.
    home: str
    #: A token for an account (its address), good for so many seconds. Raises RpcError.
    issue: Callable[[str], str]
    #: Set when the runner is to end: its jobs go on, and are taken up by the next one.
    stopping: threading.Event


class Training:
    """One claimed job."""

    def __init__(self, parts: Parts, task: Task, ticket: object, keep_here: Callable[[], None]) -> None:
        """`keep_here` makes the lease as long as processes of this machine may live."""
        self.parts = parts
        self.keep_here = keep_here
        self.claimed = Claimed(parts.store, parts.clock, task)
        self.ticket = ticket
        self.record = self.claimed.read()
        self.training: Json = self.record.body.get("trainingInput", {})

    def run(self) -> None:
        """Carry it to its end. Raises LostLease."""
        try:
            if jobs.is_ended(self.record.body):
                self.claimed.drop()
            elif self._is_elsewhere() and not self._take_from_elsewhere():
                self._end_without()
            else:
                self._prepare()
                self._execute()
        except RpcError as error:
            self.end(jobs.FAILED, error.message)
        except OSError as error:
            self.end(jobs.FAILED, f"The job cannot be run on this machine: {error.strerror or error}.")
        self.forget()

    # --------------------------------------------------------------------------------------------------- elsewhere

    def _is_elsewhere(self) -> bool:
        """Whether it was another machine's. INVARIANT: what ran there has ended by now, since its runner's lease is
        longer than its keeper's patience."""
        return bool(self.record.hidden.get("home", self.parts.home) != self.parts.home)

    def _take_from_elsewhere(self) -> bool:
        """Whether it can go on here, where nothing is known of what ran there."""
        return False

    def _end_without(self) -> None:
        if self.record.body["state"] == jobs.CANCELLING:
            self.end(jobs.CANCELLED, "")
        else:
            self.end(jobs.FAILED, ELSEWHERE)

    def settle(self) -> None:
        """Before anything of it is started on this machine. Raises LostLease."""
        self.keep_here()
        if self.record.hidden.get("home") != self.parts.home:
            self.claimed.remember(home=self.parts.home)
            self.refresh()

    # ----------------------------------------------------------------------------------------------------- to look

    def refresh(self) -> Json:
        """The job as it is now."""
        self.record = self.claimed.read()
        return self.record.body

    def is_wanted(self) -> bool:
        """Whether the job should go on; one that is past its time is asked to stop. Raises LostLease."""
        if self.parts.stopping.is_set():
            raise LostLease  # the next runner goes on from here
        job = self.refresh()
        deadline, now = jobs.wait_deadline(job), self.parts.clock.now()
        if job["state"] in (jobs.QUEUED, jobs.PREPARING) and deadline is not None and now > deadline:
            self.cancel("The job did not start within its maxWaitTime.")
        project = self.parts.snapshot.projects.get(project_id_of(self.record.name))
        if project is None or not project.active:
            self.cancel("The job's project is being deleted.")
        return bool(self.record.body["state"] != jobs.CANCELLING)

    def cancel(self, message: str) -> None:
        if self.record.body["state"] not in (jobs.CANCELLING, jobs.CANCELLED):
            self.claimed.move(jobs.CANCELLING, message, message)
            self.refresh()

    def seconds_left(self) -> float:
        """Of maxRunningTime."""
        started = self.record.body.get("startTime")
        limit = jobs.running_seconds(self.record.body)
        return limit - (self.parts.clock.now() - parse_timestamp(started)).total_seconds() if started else limit

    # ----------------------------------------------------------------------------------------------------- prepare

    def _prepare(self) -> None:
        if self.record.body["state"] == jobs.QUEUED:
            self.claimed.move(jobs.PREPARING, "Job is preparing.")
        is_known = self.record.hidden.get("run", {}).get("home") == self.parts.home
        if not is_known and self.is_wanted():
            found, said = self._found()
            self.claimed.remember(said, run={**found, "home": self.parts.home})
        self.refresh()

    def _found(self) -> tuple[Json, list[str]]:
        """Packages and environment, and what is to be said of them."""
        agents = ServiceAgents(self.parts.store, self.parts.snapshot)
        found = agents.packages(project_id_of(self.record.name), self.training["packageUris"], MAX_PACKAGE_BYTES)
        packages = [(re.sub(r"[^\w.+-]", "_", each["path"]), each["digest"]) for each in found]
        framework = framework_of(self.parts.blobs, packages)
        environment = self.parts.environments.python(
            self.training["runtimeVersion"], self.training["pythonVersion"], framework
        )
        said = [environment.note] if environment.note else []
        return {"packages": packages, "environment": environment.directory}, said

    # ----------------------------------------------------------------------------------------------------- execute

    def _execute(self) -> None:
        watched = self.watched(self.record.uid, "", self.training.get("args") or [], self.training.get("jobDir", ""))
        with self.occupied(len(watched.execution.processes)) as is_ready:
            if is_ready:
                self.follow([watched])
        self._end_as(watched)

    @contextmanager
    def occupied(self, count: int) -> Iterator[bool]:
        """Slots for so many processes, once there are; False where the job is cancelled before."""
        has_begun = self.record.body["state"] == jobs.RUNNING or bool(self.keys())
        if has_begun:
            self.parts.slots.leave(self.ticket)
            self.parts.slots.occupy(count)
        elif not self.is_wanted() or not self.parts.slots.take(self.ticket, count, self.is_wanted):
            yield False
            return
        try:
            is_ready = has_begun or self.is_wanted()
            if is_ready:
                self.settle()
            yield is_ready
        finally:
            self.parts.slots.give_back(count)

    def follow(self, watched: list[Watched]) -> None:
        """Until all have ended."""
        while not all(each.has_ended() for each in watched):
            if not self.is_wanted():
                for each in watched:
                    each.cancel()
            for each in watched:
                seen = each.step()
                if seen.began:
                    self.begun(seen.began)
            self.parts.stopping.wait(POLL_SECONDS)

    def begun(self, since: float) -> None:
        """User code runs: so does the job."""
        if self.record.body["state"] == jobs.PREPARING:
            self.claimed.move(jobs.RUNNING, "Job is running.", at=datetime.fromtimestamp(since, UTC))
            self.refresh()

    def watched(self, key: str, trial: str, args: list[str], job_dir: str) -> Watched:
        """The execution of this job, or of one trial."""
        run, training, job = self.record.hidden.get("run", {}), self.training, self.record.body
        members = jobs.replicas(training)
        addresses = [f"127.0.0.1:{FIRST_PORT + n}" for n in range(len(members))]
        told = {name: job[name] for name in ("jobId", "trainingInput", "labels") if name in job}
        arguments = (*args, *(("--job-dir", job_dir) if job_dir else ()))
        processes = []
        for member in members:
            cluster = jobs.tf_config(training, member, addresses, trial, {**training, "args": list(args)})
            environment = {
                "TF_CONFIG": json.dumps(cluster),
                "CLOUD_ML_JOB": json.dumps(told),
                "CLOUD_ML_JOB_ID": job["jobId"],
                **({"CLOUD_ML_TRIAL_ID": trial} if trial else {}),
            }
            processes.append(JobProcess(member.task_name, training["pythonModule"], arguments, environment))
        project = project_id_of(self.record.name)
        account = self._account()
        networked = self.parts.settings.job_network.split(",")
        execution = Execution(
            key=key,
            python=self.parts.environments.interpreter(run.get("environment", "")),
            processes=tuple(processes),
            packages=tuple((name, digest) for name, digest in run.get("packages", ())),
            account=account,
            project=project,
            memory_bytes=self.parts.settings.job_memory,
            disk_bytes=self.parts.settings.job_disk,
            log_bytes=self.parts.settings.job_log,
            seconds=self.seconds_left(),
            open_to=("*",) if project in networked or "*" in networked else (),
        )
        may_start = job["state"] in (jobs.QUEUED, jobs.PREPARING)
        return Watched(
            self.claimed, self.parts.runner, execution, lambda: self.parts.issue(account), may_start, trial,
            patience=self.parts.settings.job_patience,
        )  # fmt: skip

    def _account(self) -> str:
        """The account that the job runs as: its own, else the project's service agent."""
        own = self.training.get("serviceAccount", "").lower()
        project = self.parts.snapshot.projects.get(project_id_of(self.record.name))
        return own or (project.agent if project else "")

    # --------------------------------------------------------------------------------------------------------- end

    def _end_as(self, watched: Watched) -> None:
        failure = watched.failure()
        if failure:
            self.end(jobs.FAILED, failure)
        elif watched.is_too_long():
            self.end(jobs.CANCELLED, "The job ran longer than its maxRunningTime.")
        elif watched.is_cancelled():
            self.end(jobs.CANCELLED, "")
        else:
            self.end(jobs.SUCCEEDED, "")

    def end(self, to: str, message: str) -> None:
        self.claimed.end(to, message, self.output)

    def output(self, job: Json) -> Json:
        """The job with its trainingOutput."""
        processes = sum(jobs.counts(self.training))
        started = job.get("startTime")
        seconds = (parse_timestamp(job["endTime"]) - parse_timestamp(started)).total_seconds() if started else 0.0
        return {**job, "trainingOutput": {**job.get("trainingOutput", {}), **_units(seconds, processes)}}

    def forget(self) -> None:
        for key in self.keys():
            self.parts.runner.forget(key)

    def keys(self) -> list[str]:
        """The executions of this job that there are."""
        return [key for key in self.parts.runner.executions() if key.partition("-")[0] == self.record.uid]


def _units(seconds: float, processes: int) -> Json:
    units = jobs.ml_units(seconds, processes)
    return {"consumedMLUnits": units} if units else {}
