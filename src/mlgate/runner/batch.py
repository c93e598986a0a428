"""A batch prediction job, from QUEUED (or wherever an earlier runner left it) to its end.

1. PREPARING: find model, environment and input objects (batch_sources.py), and cut the input into shards
   (core/batch.py). All of it, by digest, is in the job's record (`hidden`) before anything runs.
2. Workers: as long as there are slots and shards, one more execution that computes some of them in turn
   (adapters/runtimes/batch.py). Which ones is in the record before it starts.
3. A shard that is computed becomes two blobs, whose lines are counted here, and an entry of the record: it is done.
4. All shards done: their blobs become objects under their final names (batch_results.py), in the transaction that ends
   the job.

Nothing is written twice whoever is killed: to compute a shard again changes nothing that anybody can see, and 3 and 4
are transactions. That is why, unlike a training program, a worker that is lost is simply replaced.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, BinaryIO

from mlgate import job_logs
from mlgate.core import batch, jobs
from mlgate.core.errors import FailedPrecondition
from mlgate.core.names import project_id_of
from mlgate.executions import Execution, JobProcess
from mlgate.ports import Record, Transaction
from mlgate.runner.batch_results import Results, told
from mlgate.runner.batch_sources import Sources
from mlgate.runner.training import POLL_SECONDS, Training
from mlgate.runner.watched import UNUSABLE, Watched

Json = dict[str, Any]
#: A shard whose process dies so often is what kills it; one whose process is killed from outside has more tries.
TRIES, LOSSES = 3, 20
#: What one execution is given at most: its plan has to fit into a command line.
MOST_PARTS = 1000
_PIECE = 1 << 20
_MOST_KEYS = 64 << 10
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Batch(Training):
    @property
    def given(self) -> Json:
        return dict(self.record.body["predictionInput"])

    @property
    def results(self) -> Results:
        return Results(self.parts, self.project_id, self.given)

    @property
    def state(self) -> Json:
        """What is known of the job: `run`, its plan; `done`, by shard; `workers`, the shards of each that runs; `next`,
        the number of the next one; `tries` and `losses` by shard; `seconds` that workers took; `files`, all blobs."""
        return self.record.hidden

    # ----------------------------------------------------------------------------------------------------- prepare

    def _prepare(self) -> None:
        if self.record.body["state"] == jobs.QUEUED:
            self.claimed.move(jobs.PREPARING, "Job is preparing.")
        if "run" not in self.state and self.is_wanted():
            found, said = self._found()
            self.claimed.remember(said, **found)
        self.refresh()

    def _found(self) -> tuple[Json, list[str]]:
        """What is to be done with which files, and what is to be said of it."""
        said: list[str] = []
        sources = Sources(self.parts, self.project_id, self.given, said.append)
        inputs = sources.inputs()
        self.results.check()
        run, files = sources.model(self.record.hidden.get("model", ""))
        workers = min(int(self.given.get("maxWorkerCount", batch.DEFAULT_WORKERS)), self.parts.slots.count)
        kind = self.given["dataFormat"]
        run["inputs"] = [{"uri": f"gs://{o.bucket}/{o.name}", "digest": o.digest} for o in inputs]
        run["shards"] = batch.shards([(o.size, batch.can_be_cut(kind, o.name)) for o in inputs], workers)
        run["workers"] = workers
        size = sum(o.size for o in inputs)
        said.append(f"{len(inputs)} input files of {size} bytes are {len(run['shards'])} shards.")
        digests = [*files, *(o.digest for o in inputs)]
        found = {"run": run, "files": [{"digest": d} for d in dict.fromkeys(digests)], "done": {}, "workers": {}}
        return found, said

    def _take_from_elsewhere(self) -> bool:
        """With workers of its own; what those of the other machine still make is nobody's."""
        self._remember(workers={}, home=self.parts.home)
        return True

    # ----------------------------------------------------------------------------------------------------- execute

    def _execute(self) -> None:
        self.running: dict[int, Watched] = {}
        self.failure = ""
        self.too_long = False
        self.limit = int(self.state.get("run", {}).get("workers", 1))
        self._take_up()
        try:
            while not self._is_done():
                self._round()
                self.parts.stopping.wait(POLL_SECONDS)
        finally:
            self.parts.slots.give_back(len(self.running))
        self._end_batch()

    def _take_up(self) -> None:
        """The workers that an earlier runner left; what it had no time to forget is forgotten."""
        for number, shards in self.state.get("workers", {}).items():
            if not self.running:
                self.parts.slots.leave(self.ticket)
            self.parts.slots.occupy(1)
            self.running[int(number)] = self._watch(int(number), shards)
        known = {watched.execution.key for watched in self.running.values()}
        for key in self.keys():
            if key not in known:
                self.parts.runner.forget(key)

    def _is_done(self) -> bool:
        if self.running:
            return False
        is_over = self.record.body["state"] == jobs.CANCELLING or bool(self.failure)
        return is_over or len(self.state["done"]) == len(self.state["run"]["shards"])

    def _round(self) -> None:
        is_wanted = self.is_wanted() and not self.failure
        if is_wanted and self.record.body["state"] == jobs.RUNNING and self.seconds_left() <= 0:
            self.too_long = True
            self.cancel("The job ran longer than its maxRunningTime.")
            is_wanted = False
        for number, watched in list(self.running.items()):
            if not is_wanted:
                watched.cancel()
            seen = watched.step()
            if seen.began:
                self.begun(seen.began)
            if is_wanted:
                self._collect(number, watched)
            if watched.has_ended():
                self._ended(number, watched)
        if is_wanted:
            self._more()

    def _more(self) -> None:
        """Another worker, if there is work, and room for one."""
        taken = {shard for shards in self.state["workers"].values() for shard in shards}
        waiting = [
            number
            for number in range(len(self.state["run"]["shards"]))
            if str(number) not in self.state["done"] and number not in taken
        ]
        if not waiting or len(self.running) >= self.limit or not self._has_slot():
            return
        number = self.state.get("next", 0)
        share = self._share(waiting, self.limit - len(self.running))
        workers = {**self.state["workers"], str(number): share}
        self._remember(workers=workers, next=number + 1, home=self.parts.home)
        self.running[number] = self._watch(number, share)

    def _share(self, waiting: list[int], workers: int) -> list[int]:
        """The next of so many workers' fair part of the shards, as far as it fits into a plan."""
        share: list[int] = []
        parts = 0
        for shard in waiting[: -(-len(waiting) // workers)]:
            parts += len(self.state["run"]["shards"][shard])
            if share and parts > MOST_PARTS:
                break
            share.append(shard)
        return share

    def _has_slot(self) -> bool:
        """The first worker waits for its turn; further ones take what is free."""
        if self.running:
            return self.parts.slots.try_take(1)
        if not self.parts.slots.is_queued(self.ticket):
            self.ticket = self.parts.slots.queue()
        return self.parts.slots.take(self.ticket, 1, self.is_wanted)

    def _watch(self, number: int, shards: list[int]) -> Watched:
        run, given, settings = self.state["run"], self.given, self.parts.settings
        parts = {shard: run["shards"][shard] for shard in shards}
        inputs = sorted({part[0] for each in parts.values() for part in each})
        fields = {"signature_name": given["signatureName"]} if given.get("signatureName") else {}
        plan = {
            "framework": run["framework"],
            "options": run["options"],
            "format": given["dataFormat"],
            "output": batch.output_format(given),
            "batch": int(given.get("batchSize", 0)),
            "fields": fields,
            "shards": [
                [shard, [[str(n), start, end, run["inputs"][n]["uri"]] for n, start, end in each]]
                for shard, each in parts.items()
            ],
        }
        environment = dict.fromkeys(_THREADS, "1")
        process = JobProcess(f"worker-replica-{number}", "", (json.dumps(plan),), environment)
        account = run["account"]
        execution = Execution(
            key=f"{self.record.uid}-{number}",
            python=self.parts.environments.interpreter(run["environment"]),
            processes=(process,),
            packages=(),
            account=account,
            project=self.project_id,
            memory_bytes=settings.job_memory,
            disk_bytes=settings.job_disk,
            log_bytes=settings.job_log,
            seconds=max(1.0, self.seconds_left()),
            program="batch",
            files=(
                *((path, digest) for path, digest in run["files"]),
                *((f"input/{n}", run["inputs"][n]["digest"]) for n in inputs),
            ),
        )
        issue = (lambda: self.parts.issue(account)) if account else (lambda: "")
        return Watched(self.claimed, self.parts.runner, execution, issue, patience=settings.job_patience)

    # ----------------------------------------------------------------------------------------------------- collect

    def _collect(self, number: int, watched: Watched) -> None:
        """Keep what the worker has computed since the last look."""
        for shard in self.state["workers"][str(number)]:
            if str(shard) in self.state["done"]:
                continue
            results = self._kept(watched, f"results-{shard:05d}")
            if results is None:
                break  # it computes them in turn
            errors = self._kept(watched, f"errors-{shard:05d}")
            if errors is None:
                raise FailedPrecondition(f"Shard {shard} has results and no file of errors.")
            self._shard_done(shard, results, errors, self._keys(watched, shard))

    def _kept(self, watched: Watched, name: str) -> Json | None:
        """A file of the worker's as a blob, and how many lines it has."""
        file = self.parts.runner.made(watched.execution.key, name)
        if file is None:
            return None
        with file:
            return self._stored(file)

    def _stored(self, file: BinaryIO) -> Json:
        writer, lines = self.parts.blobs.writer(), 0
        try:
            while piece := file.read(_PIECE):
                lines += piece.count(b"\n")
                writer.write(piece)
            blob = writer.commit()
        except BaseException:
            writer.abandon()
            raise
        return {**told(blob), "lines": lines}

    def _keys(self, watched: Watched, shard: int) -> str:
        """The columns of CSV, where predictions are objects."""
        file = self.parts.runner.made(watched.execution.key, f"keys-{shard:05d}")
        if file is None:
            return ""
        with file:
            return file.read(_MOST_KEYS).decode("utf-8", "replace")

    def _shard_done(self, shard: int, results: Json, errors: Json, keys: str) -> None:
        def work(tx: Transaction, record: Record, now: datetime) -> None:
            done = {**record.hidden["done"], str(shard): {"results": results, "errors": errors, "keys": keys}}
            files = [*record.hidden["files"], {"digest": results["digest"]}, {"digest": errors["digest"]}]
            record.hidden = {**record.hidden, "done": done, "files": files}
            record.body = {**record.body, "predictionOutput": self._output(record.hidden)}
            tx.update(record)
            told = record.body["predictionOutput"]
            job_logs.note(
                tx, record, now,
                f"{len(done)} of {len(record.hidden['run']['shards'])} shards are done: {told['predictionCount']} "
                f"predictions, {told['errorCount']} errors.",
            )  # fmt: skip

        self.claimed.change(work)
        self.refresh()

    def _ended(self, number: int, watched: Watched) -> None:
        """A worker is through with its shards, or with itself."""
        if self.record.body["state"] != jobs.CANCELLING and not self.failure:
            self._collect(number, watched)
        del self.running[number]
        self.parts.slots.give_back(1)
        seen = watched.seen
        left = [shard for shard in self.state["workers"][str(number)] if str(shard) not in self.state["done"]]
        changed: Json = {
            "seconds": self.state.get("seconds", 0.0) + max(0.0, seen.ended - seen.began if seen.ended else 0)
        }
        if left and not (watched.is_cancelled() or watched.is_too_long()):
            kind, most = ("losses", LOSSES) if watched.was_lost() else ("tries", TRIES)
            counted = {**self.state.get(kind, {})}
            counted[str(left[0])] = counted.get(str(left[0]), 0) + 1
            changed[kind] = counted
            why = watched.failure() or f"worker-replica-{number} ended before its work was done."
            if kind == "losses":
                why = f"worker-replica-{number} is gone: it was killed, or the machine was restarted."
            if seen.code == UNUSABLE or counted[str(left[0])] >= most:
                self.failure = why
            else:
                self.claimed.note(f"{why} Shard {left[0]} is begun again.", job_logs.WARNING)
        elif watched.is_too_long():
            self.too_long = True
            self.cancel("The job ran longer than its maxRunningTime.")
        workers = {key: value for key, value in self.state["workers"].items() if key != str(number)}
        self._remember(workers=workers, **changed)
        watched.forget()

    def _remember(self, **hidden: Any) -> None:
        self.claimed.remember(**hidden)
        self.refresh()

    # --------------------------------------------------------------------------------------------------------- end

    def _end_batch(self) -> None:
        if self.failure:
            self.end(jobs.FAILED, self.failure)
        elif self.refresh()["state"] == jobs.CANCELLING or "run" not in self.state:
            self.end(jobs.CANCELLED, "")
        else:
            self._publish()

    def _publish(self) -> None:
        """All results under their final names, and the job's end, in one transaction."""
        files = self.results.files([self.state["done"][str(n)] for n in range(len(self.state["run"]["shards"]))])
        self.results.check(tuple(name for name, _ in files))

        def work(tx: Transaction, record: Record, now: datetime) -> None:
            self.results.store(tx, files, now)
            self._forget_plan(record)

        self.claimed.end(jobs.SUCCEEDED, "", self.output, work)

    def end(self, to: str, message: str) -> None:
        self.claimed.end(to, message, self.output, lambda tx, record, now: self._forget_plan(record))

    def output(self, job: Json) -> Json:
        return {**job, "predictionOutput": self._output(self.state)}

    def _output(self, state: Json) -> Json:
        done = state.get("done", {}).values()
        return {
            "outputPath": self.given["outputPath"],
            "predictionCount": str(sum(each["results"]["lines"] for each in done)),
            "errorCount": str(sum(each["errors"]["lines"] for each in done)),
            "nodeHours": round(state.get("seconds", 0.0) / 3600, 4),
        }

    def _forget_plan(self, record: Record) -> None:
        """An ended job needs no blobs any more."""
        record.hidden = {}

    @property
    def project_id(self) -> str:
        return project_id_of(self.record.name)
