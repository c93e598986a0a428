"""A tuning job: trials of one program, each an execution, until there are enough.

Each trial is a step of the optimizer's: it is asked for one point whenever there is room for another trial, with all
trials so far, and never while one is about to be stored, so no point is suggested twice. The trials are in the job's
record before they run: a runner that takes the job over finds them by their keys.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from mlgate import job_logs
from mlgate.core import jobs, summaries, tuning
from mlgate.core.errors import RpcError
from mlgate.core.names import bucket_name, parse_gs_uri
from mlgate.core.wire import format_timestamp
from mlgate.ports import Record, Transaction
from mlgate.runner.training import POLL_SECONDS, Training
from mlgate.runner.watched import Watched

Json = dict[str, Any]
#: Of one trial's summary files.
_MOST_FILES, _MOST_BYTES = 20, 32 << 20


class Tuning(Training):
    def _take_from_elsewhere(self) -> bool:
        """With new trials; those that ran there are lost."""
        return True

    def _execute(self) -> None:
        self.spec: Json = self.training["hyperparameters"]
        self.trials: list[Json] = self.record.hidden.get("trials", [])
        self.running: dict[int, Watched] = {}
        self.asked: Future[Any] | None = None
        self.is_exhausted = False
        self.too_long = False
        self.size = sum(jobs.counts(self.training))
        self._take_up()
        with ThreadPoolExecutor(1, thread_name_prefix="optimizer") as self.thinker:
            try:
                while not self._is_done():
                    self._round()
                    self.parts.stopping.wait(POLL_SECONDS)
            finally:
                self.parts.slots.give_back(self.size * (len(self.running) + (self.asked is not None)))
        self._end_tuning()

    # ------------------------------------------------------------------------------------------------------ rounds

    def _take_up(self) -> None:
        """The trials that an earlier runner left running."""
        left = [trial for trial in self.trials if trial["state"] in (jobs.PREPARING, jobs.RUNNING)]
        if self._is_elsewhere():
            for trial in left:
                trial["state"] = jobs.RUNNING  # it may have been: so it is not begun here
            self._store()
        if left:
            self.settle()
            for trial in left:
                if not self.running:
                    self.parts.slots.leave(self.ticket)
                self.parts.slots.occupy(self.size)
                self.running[trial["id"]] = self._watch(trial)

    def _round(self) -> None:
        is_wanted = self.is_wanted() and not self._has_failed()
        if self.record.body["state"] == jobs.RUNNING and self.seconds_left() <= 0:
            self.too_long = True
            self.cancel("The job ran longer than its maxRunningTime.")
            is_wanted = False
        for trial in self.trials:
            if trial["id"] in self.running:
                self._look_after(trial, is_wanted)
        if is_wanted:
            self._more()

    def _is_done(self) -> bool:
        if self.running:
            return False
        is_over = self.record.body["state"] == jobs.CANCELLING or self._has_failed()
        return is_over or self.is_exhausted or self._left() <= 0

    def _left(self) -> int:
        mine = [trial for trial in self.trials if not trial.get("old")]
        return int(self.spec.get("maxTrials", 1)) - len(mine)

    def _has_failed(self) -> bool:
        return tuning.has_failed(self.spec, self.trials)

    # -------------------------------------------------------------------------------------------------------- more

    def _more(self) -> None:
        """Another trial, if there is room for one."""
        if self.asked is not None:
            if self.asked.done():
                asked, self.asked = self.asked, None
                self._begin(asked.result())
            return
        has_room = len(self.running) < int(self.spec.get("maxParallelTrials", 1))
        if not has_room or self._left() <= 0 or self.is_exhausted or not self._has_slots():
            return
        next_id = 1 + max((trial["id"] for trial in self.trials), default=0)
        question = tuning.question(self.spec, self.trials, self.record.name, "suggest", count=1, next=next_id)
        self.asked = self.thinker.submit(self.parts.optimizer.ask, question)

    def _has_slots(self) -> bool:
        """The first trial waits for its turn; further ones take what is free."""
        if self.running:
            return self.parts.slots.try_take(self.size)
        if self.parts.slots.is_queued(self.ticket):
            return self.parts.slots.take(self.ticket, self.size, self.is_wanted)
        self.ticket = self.parts.slots.queue()
        return self.parts.slots.take(self.ticket, self.size, self.is_wanted)

    def _begin(self, points: list[list[Json]]) -> None:
        if not points:  # every point of a finite space was tried
            self.is_exhausted = True
            self.parts.slots.give_back(self.size)
            return
        trial: Json = {
            "id": 1 + max((trial["id"] for trial in self.trials), default=0),
            "parameters": points[0],
            "state": jobs.PREPARING,
        }
        self.settle()
        self.trials.append(trial)
        self.running[trial["id"]] = self._watch(trial)
        self._store(f"Trial {trial['id']} begins with {tuning.spoken(trial['parameters'])}.", str(trial["id"]))

    def _watch(self, trial: Json) -> Watched:
        number, job_dir = str(trial["id"]), self.training.get("jobDir", "")
        args = [*(self.training.get("args") or []), *tuning.arguments(trial["parameters"])]
        place = f"{job_dir.rstrip('/')}/{number}" if job_dir else ""
        watched = self.watched(f"{self.record.uid}-{number}", number, args, place)
        watched.may_start = trial["state"] == jobs.PREPARING
        return watched

    # -------------------------------------------------------------------------------------------------- look after

    def _look_after(self, trial: Json, is_wanted: bool) -> None:
        watched = self.running[trial["id"]]
        if not is_wanted or trial.get("stopped"):
            watched.cancel()
        try:
            seen = watched.step()
        except RpcError as error:
            self._ended(trial, jobs.FAILED, error.message)
            return
        if seen.began and trial["state"] == jobs.PREPARING:
            trial["state"] = jobs.RUNNING
            trial["startTime"] = format_timestamp(datetime.fromtimestamp(seen.began, UTC))
            self.begun(seen.began)
            self._store()
        if self._measure(trial, watched) and not watched.has_ended() and self._should_stop(trial):
            trial["stopped"] = True
            self._store(f"Trial {trial['id']} is stopped early: it is not worth its next steps.", str(trial["id"]))
        if watched.has_ended():
            failure = watched.failure()
            if trial.get("stopped") and not failure:
                self._ended(trial, jobs.SUCCEEDED, "")
            elif failure:
                self._ended(trial, jobs.FAILED, failure)
            else:
                is_cancelled = watched.is_cancelled() or watched.is_too_long()
                self._ended(trial, jobs.CANCELLED if is_cancelled else jobs.SUCCEEDED, "")

    def _ended(self, trial: Json, state: str, message: str) -> None:
        watched = self.running.pop(trial["id"])
        self.parts.slots.give_back(self.size)
        trial["state"], trial["endTime"] = state, format_timestamp(self.parts.clock.now())
        if message:
            trial["message"] = message[:1000]
        what = {jobs.SUCCEEDED: "completed", jobs.FAILED: "failed", jobs.CANCELLED: "was cancelled"}[state]
        text = f"Trial {trial['id']} {what}{f': {message}' if message else '.'}"
        if state == jobs.SUCCEEDED and not trial.get("measurements"):
            text += f" It reported no value of {tuning.metric(self.spec)}."
        self._store(text, str(trial["id"]), job_logs.ERROR if state == jobs.FAILED else job_logs.INFO)
        watched.forget()

    def _measure(self, trial: Json, watched: Watched) -> bool:
        """Whether the trial reported something new."""
        wanted = tuning.metric(self.spec)
        found = tuning.reported(self.parts.runner.metrics(watched.execution.key), wanted)
        if not found and watched.has_ended():
            found = self._summaries(trial, wanted)
        if found and tuning.measured(trial, wanted, found):
            self._store()
            return True
        return False

    def _summaries(self, trial: Json, wanted: str) -> list[tuple[int, float, float]]:
        """What TensorFlow wrote into the trial's job directory, if the job's own account may read there."""
        if not self.training.get("jobDir"):
            return []
        bucket, path = parse_gs_uri(f"{self.training['jobDir'].rstrip('/')}/{trial['id']}", "jobDir")
        account = f"serviceAccount:{self._account()}"
        if not self.parts.snapshot.decide(account, "storage.objects.get", bucket_name(bucket)):
            return []
        with self.parts.store.read() as tx:
            objects = tx.list_objects(bucket, prefix=f"{path}/", limit=1000)
        files = [o for o in objects if "tfevents" in o.name.rpartition("/")[2] and o.size <= _MOST_BYTES]
        found: list[tuple[int, float, float]] = []
        for each in files[:_MOST_FILES]:
            found += summaries.scalars(b"".join(self.parts.blobs.open(each.digest)), wanted)
        return found

    def _should_stop(self, trial: Json) -> bool:
        if not self.spec.get("enableTrialEarlyStopping") or self.asked is not None:
            return False
        question = tuning.question(self.spec, self.trials, self.record.name, "stop", trial=trial["id"])
        return bool(self.parts.optimizer.ask(question))

    # --------------------------------------------------------------------------------------------------------- end

    def _store(self, text: str = "", trial: str = "", severity: str = job_logs.INFO) -> None:
        def work(tx: Transaction, record: Record, now: datetime) -> None:
            record.hidden = {**record.hidden, "trials": self.trials}
            told = {**record.body.get("trainingOutput", {}), **tuning.output(self.spec, self.trials)}
            record.body = {**record.body, "trainingOutput": told}
            tx.update(record)
            if text:
                job_logs.note(tx, record, now, text, severity, trial)

        self.claimed.change(work)

    def _end_tuning(self) -> None:
        failed = [trial for trial in self.trials if trial["state"] == jobs.FAILED and not trial.get("old")]
        if self.refresh()["state"] == jobs.CANCELLING:
            self.end(jobs.CANCELLED, "")
        elif self._has_failed():
            last = failed[-1].get("message", "") if failed else ""
            self.end(jobs.FAILED, f"Too many trials failed: {len(failed)} of {len(self.trials)}. The last: {last}")
        else:
            self.end(jobs.SUCCEEDED, "")
