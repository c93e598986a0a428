"""Long-running operations: get, list, cancel, delete."""

from __future__ import annotations

from mlgate.api.call import Call
from mlgate.api.messages.message import Empty
from mlgate.api.messages.operations import ListOperationsResponse, Operation
from mlgate.api.operations import message
from mlgate.api.paging import page
from mlgate.core import lro
from mlgate.core.errors import FailedPrecondition, Unimplemented
from mlgate.core.names import id_of

_FILTER_FIELDS = ("name", "done", "metadata", "error")


def get_operation(call: Call) -> Operation:
    return message(call.record(call.resource, "operation"))


def list_operations(call: Call) -> ListOperationsResponse:
    if call.query.get("returnPartialSuccess"):
        raise Unimplemented("returnPartialSuccess is not implemented by this server.")
    call.record(call.resource, "project")
    records, token = page(call, call.resource, "operation", lambda r: {"done": False, **r.body}, _FILTER_FIELDS)
    return ListOperationsResponse(operations=[message(r) for r in records], next_page_token=token)


def cancel_operation(call: Call) -> Empty:
    """Ask for cancellation. One that is done stays as it is."""
    record = call.record(call.resource, "operation")
    if not lro.is_done(record.body):
        record.body = lro.cancelled(record.body, call.now)
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
