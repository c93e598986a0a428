"""What the inside needs of the outside. Adapters implement these; nothing here knows one."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from mlgate.core.iam.policy import Policy
from mlgate.core.usage import Counts

# ---------------------------------------------------------------------------------------------------------- records


@dataclass(slots=True)
class Record:
    """A stored resource: its name, its kind, the resource it lives in, an id that no later one gets, and its message.

    `body` is the resource's own message in wire form; `hidden` is what the server remembers beside it and never shows.
    `etag` changes with every write.
    """

    name: str
    kind: str
    parent: str
    uid: str
    body: dict[str, Any]
    created: datetime
    etag: bytes = b""
    hidden: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that decisions or predictions read from memory in every server process.

    `kind` is policy, deny, group, role, parent, account, project, bucket, ended or serving; `value` None means that it
    is gone.
    """

    kind: str
    key: str
    value: Any


@dataclass(frozen=True, slots=True)
class Author:
    """Who writes, and when."""

    principal: str
    time: datetime


@dataclass(frozen=True, slots=True)
class PolicyRevision:
    """What a policy was after one write. `author` is None when it was written before histories were kept."""

    number: int
    policy: Policy
    author: Author | None


@dataclass(frozen=True, slots=True)
class Token:
    """Who a bearer token speaks for and until when. Only the SHA-256 of the token is ever stored."""

    digest: bytes
    principal: str
    expires: datetime
    uid: str = ""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One admin write, allowed or denied: who did what to which resource, and which grant let them."""

    time: datetime
    request_id: str
    method: str
    resource: str
    principal: str
    permission: str
    because: dict[str, Any] | None
    outcome: str
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Task:
    """Work to be done outside a request, claimed under a lease. `fence` rises with each claim: no stale worker wins."""

    name: str
    kind: str
    body: dict[str, Any]
    attempts: int = 0
    fence: int = 0


@dataclass(slots=True)
class StoredObject:
    """An object of a bucket; its bytes are the blob `digest`."""

    bucket: str
    name: str
    generation: int
    digest: str
    size: int
    body: dict[str, Any]


# ------------------------------------------------------------------------------------------------------------ store


class Transaction(Protocol):
    """One unit of work: all of it is stored, or nothing. Writers are serialized against policy changes.

    `author` is set by whoever opens a transaction for somebody; the history of policies names them.
    """

    author: Author | None

    def revision(self) -> int: ...

    def get(self, name: str) -> Record | None: ...

    def insert(self, record: Record) -> None:
        """Raises AlreadyExists."""

    def update(self, record: Record) -> None:
        """Store `record` over the row of its name, with a new etag (set on the record)."""

    def delete(self, name: str) -> None: ...

    def children(self, parent: str, kind: str, *, after: str = "", limit: int | None = None) -> list[Record]:
        """Records of one kind in one parent, in order of name, those after `after`."""

    def find(self, kind: str) -> list[Record]:
        """All records of a kind."""

    def count(self, parent: str, kind: str) -> int:
        """How many records of one kind are in one parent."""

    def policy(self, resource: str) -> Policy | None: ...

    def set_policy(self, resource: str, policy: Policy | None) -> Policy | None:
        """Store a policy under a new etag, as the next revision of its history, and return it; None forgets it with
        its history. Raises the store's revision."""

    def policy_revisions(self, resource: str, *, before: int | None = None, limit: int) -> list[PolicyRevision]:
        """The newest revisions of a policy, those below the number `before`; newest first."""

    def policied(self, first: str, before: str, limit: int) -> list[str]:
        """The resources that have a policy, from the name `first` on and before `before`, in order of name."""

    def policies_naming(self, member: str) -> list[tuple[str, Policy]]:
        """Every policy in which `member` stands."""

    def set_fact(self, kind: str, key: str, value: Any) -> None:
        """Record what every process must know; raises the revision. None forgets."""

    def fact(self, kind: str, key: str) -> Any: ...

    def facts(self, kind: str) -> dict[str, Any]: ...

    def audit(self, entry: AuditEntry) -> None: ...

    def add_token(self, token: Token) -> None: ...

    def token(self, digest: bytes) -> Token | None: ...

    def drop_expired_tokens(self, now: datetime) -> int: ...

    def enqueue(self, task: Task) -> None: ...

    def finish(self, task: Task) -> bool:
        """Remove the task if its fence is still ours; False means another worker has it and nothing may be stored."""

    def holds(self, task: Task) -> bool:
        """Whether the task's fence is still ours; a worker that lost its lease may store nothing for it."""

    def find_tasks(self, kind: str = "", worker: str = "") -> list[str]:
        """The names of all tasks (of one kind, claimed last by one worker) that are not finished."""

    def waiting_tasks(self, kind: str) -> list[Task]:
        """The tasks of a kind that nobody has claimed yet, in the order in which they will be."""

    def add_usage(self, minute: int, counts: Mapping[str, Counts]) -> None:
        """Add to what was counted of versions (by uid) in a minute since 1970, and to their totals."""

    def usage(self, uids: Collection[str], start: int, end: int) -> list[tuple[int, Counts]]:
        """What was counted of these versions in the minutes from `start` on and before `end`: each with its minute, in
        no order of versions."""

    def usage_totals(self, names: Collection[str] | None = None) -> dict[str, Counts]:
        """All that was ever counted, by the names of versions that are there: of these, or of all. One query."""

    def prune_usage(self, before: int) -> None:
        """Forget minutes before this one, and versions that are gone."""

    def get_object(self, bucket: str, name: str) -> StoredObject | None: ...

    def put_object(self, stored: StoredObject) -> None: ...

    def delete_object(self, bucket: str, name: str) -> bool: ...

    def list_objects(
        self, bucket: str, *, prefix: str = "", after: str = "", until: str | None = None, limit: int | None = None
    ) -> list[StoredObject]:
        """Objects whose name starts with `prefix` and is greater than `after`, in order of name (code points)."""

    def blob_digests(self) -> set[str]:
        """Every blob that an object, a deployed version or a running job still needs."""


class Store(Protocol):
    """The database."""

    def read(self) -> AbstractContextManager[Transaction]:
        """One state of the database: that of the first question."""

    def write(self) -> AbstractContextManager[Transaction]: ...

    def revision(self) -> int:
        """The number that every change of a fact or policy raises; a few microseconds on the embedded database."""

    def changes(self, since: int) -> tuple[int, list[Fact]]:
        """The revision, and every fact (policies included) written after `since`, oldest first. From 0 on those alone
        that stand: whoever begins has nothing to forget."""

    def claim(
        self, worker: str, now: datetime, lease_seconds: float, kinds: Collection[str], held: Collection[str] = ()
    ) -> Task | None:
        """A task of one of the kinds that nobody works on: those that somebody began come first, the others in the
        order of their names. What a worker of this name claimed and is not among those that are `held` was left behind
        by an earlier process of it: nobody works on that, however long its lease is."""

    def renew(self, task: Task, worker: str, now: datetime, lease_seconds: float) -> bool: ...

    def release(self, task: Task, now: datetime, delay_seconds: float) -> None:
        """Give a task back, to be claimed again after the delay."""

    def close(self) -> None: ...


# ------------------------------------------------------------------------------------------------------------ blobs


@dataclass(frozen=True, slots=True)
class Blob:
    """Stored bytes: `digest` is their SHA-256 in hex; md5 and crc32c are the raw values that Storage reports."""

    digest: str
    size: int
    md5: bytes
    crc32c: bytes


class BlobWriter(Protocol):
    """Takes bytes; nothing is visible before `commit`, and `abandon` (or a crash) leaves nothing behind for long."""

    def write(self, data: bytes) -> None: ...

    def commit(self) -> Blob: ...

    def abandon(self) -> None: ...


class Blobs(Protocol):
    """Bytes under the name of their digest, written once, never changed."""

    def writer(self) -> BlobWriter: ...

    def open(self, digest: str, start: int = 0, length: int | None = None) -> Iterator[bytes]: ...

    def materialize(self, digest: str, target: Path) -> None:
        """Put the bytes at `target` as a read-only file (a hard link where that is possible)."""

    def partial_size(self, upload_id: str) -> int: ...

    def partial_append(self, upload_id: str, data: bytes, at: int) -> int:
        """The new size. Raises Aborted when the size is not `at`: another request went on with the upload."""

    def partial_commit(self, upload_id: str) -> Blob: ...

    def partial_abandon(self, upload_id: str) -> None: ...

    def sweep(self, keep: set[str], older_than_seconds: float) -> int:
        """Remove blobs that nobody refers to and that are older than the age; returns how many."""


# ------------------------------------------------------------------------------------------------------- model host


@dataclass(frozen=True, slots=True)
class Scaling:
    """How many processes a version has: never fewer than `low`, never more than `high`; 0 lets it go without."""

    low: int = 0
    high: int = 1


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What a model process is to load: a version by its uid, its read-only directory and how to run it.

    An empty `framework` is decided by the files, `CUSTOM` is a class of the user's own (option `prediction_class`),
    which may call this server as a service account (option `account`).
    Option `packages` is a second directory, of the user's own code; `copy` one more, of the faster copy. `seconds` is
    how long one prediction may take.
    `scaling` may change while processes run.
    """

    uid: str
    directory: str
    framework: str
    python: str
    memory_bytes: int = 4 << 30
    options: dict[str, Any] = field(default_factory=dict)
    seconds: float = 120.0
    scaling: Scaling = field(default=Scaling(), compare=False)

    def directories(self) -> list[str]:
        """What the process must be able to read."""
        return [self.directory, *(self.options[name] for name in ("packages", "copy") if self.options.get(name))]


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """The status (200, or 400 for a failure of the model) and the JSON body, exactly as the caller gets it."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Environment:
    """Where a version's model runs. `directory` is what is remembered of it; `note` is what a person should know who
    asked for something else by name."""

    name: str
    directory: str
    python: str
    note: str = ""


class Environments(Protocol):
    """The environments that runtime versions name."""

    def is_ready(self, runtime_version: str, python_version: str, framework: str) -> bool:
        """Whether `python` would answer at once. Raises InvalidArgument for a runtime that there is not."""

    def python(self, runtime_version: str, python_version: str, framework: str) -> Environment:
        """The environment, built first if need be, which takes long. Raises InvalidArgument for a runtime that there
        is not, FailedPrecondition with what to do when it cannot be built."""

    def interpreter(self, directory: str) -> str:
        """The Python of an environment that was chosen before, by its directory."""


class ModelHost(Protocol):
    """Runs each version's model code in processes of its own. Raises Unavailable when a process dies under a request,
    DeadlineExceeded when it does not answer in time, ResourceExhausted when its queue is full."""

    async def predict(self, spec: ModelSpec, body: bytes, timeout: float) -> ModelAnswer: ...

    async def explain(self, spec: ModelSpec, body: bytes, timeout: float) -> ModelAnswer: ...


class ModelLoader(Protocol):
    """The deploying side: tries a model once."""

    def load(self, spec: ModelSpec) -> str:
        """Return the model's framework when it answers; raises FailedPrecondition with a reason that a person can act
        on."""

    def copy(self, spec: ModelSpec, target: Path) -> tuple[str, dict[str, Any]]:
        """Load a model and try to make a faster copy of it in the file `target`. Returns the framework, and of the copy
        what it is, or the `reason` why there is none. Raises FailedPrecondition for a model that cannot be loaded."""

    def unload(self, uid: str) -> None: ...


# ------------------------------------------------------------------------------------------------------------- others


class Optimizer(Protocol):
    """Answers the questions of `core.vizier.questions`, away from the process that answers calls. Raises Unavailable
    when its process dies, DeadlineExceeded when it takes too long, Unimplemented when it has not what it needs."""

    def ask(self, question: dict[str, Any]) -> Any: ...


class TableFiles(Protocol):
    """Tables of logged requests."""

    def append(self, table: Sequence[str], lines: Sequence[bytes]) -> int:
        """Write the lines behind those that are there, as many as the table has room for; how many. Raises OSError."""


class LogFiles(Protocol):
    """The last lines of each version, by its uid: what its processes print, and who was answered how."""

    def append(self, uid: str, lines: Sequence[bytes]) -> None:
        """Raises OSError."""

    def read(self, uid: str) -> list[bytes]:
        """The lines that are kept, oldest first."""

    def keep(self, uids: Collection[str], older_than_seconds: float = 600.0) -> None:
        """Remove the logs of all others, unless they are so young that their version may not be known yet."""


class Clock(Protocol):
    def now(self) -> datetime:
        """The time, in UTC, aware."""


class Ids(Protocol):
    def uid(self) -> str:
        """A decimal id that was never given before (21 digits, as Google's unique ids)."""

    def token(self) -> str:
        """256 random bits as text, for bearer tokens and page keys."""
