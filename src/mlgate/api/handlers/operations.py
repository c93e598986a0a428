"""Long-running operations: making them, and get, list, cancel, delete."""

from __future__ import annotations

from typing import Any

from mlgate.api.call import Call
from mlgate.api.messages.message import Empty, decode
from mlgate.api.messages.operations import ListOperationsResponse, Operation
from mlgate.api.paging import page
from mlgate.core import lro
from mlgate.core.errors import FailedPrecondition, Unimplemented
from mlgate.core.iam.policy import Binding, Policy
from mlgate.core.names import id_of, join, project_id_of, project_of
from mlgate.ports import Record, Task

_FILTER_FIELDS = ("name", "done", "metadata", "error")


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


def get_operation(call: Call) -> Operation:
    return message(call.record(call.resource, "operation"))


def list_operations(call: Call) -> ListOperationsResponse:
    if call.query.get("returnPartialSuccess"):
        raise Unimplemented("returnPartialSuccess is not implemented by this server.")
    call.record(call.resource, "project")
    records, token = page(call, call.resource, "operation", lambda r: {"done": False, **r.body}, _FILTER_FIELDS)
    return ListOperationsResponse(operations=[message(r) for r in records], next_page_token=token)


def cancel_operation(call: Call) -> Empty:
    """Ask for cancellation; the work stops at its next step. One that is done stays as it is."""
    record = call.record(call.resource, "operation")
    if not lro.is_done(record.body):
        record.body = lro.cancelling(record.body)
        call.tx.update(record)
    return Empty()


def delete_operation(call: Call) -> Empty:
    """Forget a done operation and its policy; audit entries stay (C-03)."""
    record = call.record(call.resource, "operation")
    if not lro.is_done(record.body):
        raise FailedPrecondition(f"Operation {id_of(record.name)} is still running: cancel it first.")
    call.tx.delete(record.name)
    call.tx.set_policy(record.name, None)
    return Empty()
