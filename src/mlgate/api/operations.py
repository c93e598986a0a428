"""Making long-running operations: running ones with their task, and ones that are done with the call."""

from __future__ import annotations

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


def done(call: Call, kind: str, model: str, response: dict[str, Any] | None = None, **metadata: Any) -> Operation:
    """An operation whose work was small enough to be done with the call."""
    record = begin(call, kind, model, **metadata)
    record.body = lro.succeeded(record.body, call.now, response)
    call.tx.update(record)
    return message(record)


def queue(call: Call, record: Record, task_kind: str, **body: Any) -> Operation:
    """Hand the work of an operation to the worker, in the same transaction."""
    call.tx.enqueue(Task(name=record.name, kind=task_kind, body={"operation": record.name, **body}))
    return message(record)


def message(record: Record) -> Operation:
    return decode(Operation, record.body)
