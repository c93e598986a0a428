"""Making long-running operations: running ones with their task, and ones that are done with the call.

Those of `ml` are resources with a policy. Those of the neighbouring APIs are only remembered for a day, for clients
that ask once more: see `remembered`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from mlgate.api.call import Call
from mlgate.api.messages.message import decode
from mlgate.api.messages.operations import Operation
from mlgate.core import lro
from mlgate.core.iam.policy import Binding, Policy
from mlgate.core.names import join, project_id_of, project_of
from mlgate.ports import Record, Task


def begin(call: Call, kind: str, model: str, **metadata: Any) -> Record:
    """A running operation, stored; whoever caused it becomes its owner (R-032, R-033)."""
    project = project_of(model) or ""
    uid = call.services.ids.uid()
    name = join(project, "operations", f"{kind.lower()}_{uid}")
    number = call.services.snapshot.projects[project_id_of(project)].number
    body = lro.running(name, kind, model, call.now, projectNumber=number, **metadata)
    record = Record(name=name, kind="operation", parent=project, uid=uid, body=body, created=call.now)
    call.tx.insert(record)
    call.tx.set_policy(name, Policy((Binding("roles/ml.operationOwner", (call.principal,)),)))
    return record


def begin_of_study(call: Call, location: str, kind: str, **metadata: Any) -> Record:
    """A new operation on a study, stored; whoever caused it becomes its owner (R-033, C-12). There is no method that
    deletes one, so those that are done go after a day."""
    for old in call.tx.children(location, "operation", limit=_SWEPT_OF_STUDY):  # the oldest: names rise with time
        if lro.is_done(old.body) and call.now - old.created > _KEPT:
            call.tx.delete(old.name)
            call.tx.set_policy(old.name, None)
    uid = call.services.ids.uid()
    name = join(location, "operations", f"{int(call.now.timestamp() * 1000)}{uid}")
    body = lro.of_study(name, kind, call.now, **metadata)
    record = Record(name=name, kind="operation", parent=location, uid=uid, body=body, created=call.now)
    call.tx.insert(record)
    call.tx.set_policy(name, Policy((Binding("roles/ml.operationOwner", (call.principal,)),)))
    return record


def done(call: Call, kind: str, model: str, response: dict[str, Any] | None = None, **metadata: Any) -> Operation:
    """An operation whose work was small enough to be done with the call."""
    record = begin(call, kind, model, **metadata)
    record.body = lro.succeeded(record.body, call.now, response)
    call.tx.update(record)
    return message(record)


#: The kind of record that the operations of neighbouring APIs are, how long they are kept, how many go at a time.
REMEMBERED, _KEPT, _SWEPT = "rememberedOperation", timedelta(days=1), 100
_SWEPT_OF_STUDY = 2  # at each new one, so that they become fewer


def remembered(call: Call, prefix: str, response: dict[str, Any]) -> Operation:
    """A done operation that its caller can read for a day, as `operations/PREFIX.ID`."""
    parent, uid = f"operations/{prefix}", call.services.ids.uid()
    for old in call.tx.children(parent, REMEMBERED, limit=_SWEPT):  # names rise with time: the oldest come first
        if call.now - old.created > _KEPT:
            call.tx.delete(old.name)
    name = f"{parent}.{int(call.now.timestamp() * 1000)}{uid}"
    body = {"name": name, "done": True, "response": response}
    call.tx.insert(Record(name, REMEMBERED, parent, uid, body, call.now, hidden={"principal": call.principal}))
    return decode(Operation, body)


def queue(call: Call, record: Record, task_kind: str, **body: Any) -> Operation:
    """Hand the work of an operation to the worker, in the same transaction."""
    call.tx.enqueue(Task(name=record.name, kind=task_kind, body={"operation": record.name, **body}))
    return message(record)


def message(record: Record) -> Operation:
    return decode(Operation, record.body)
