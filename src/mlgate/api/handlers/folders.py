"""Folders (Resource Manager v2 and v3): places between the organization and its projects.

Whoever has a role on a folder has it on everything below. Rules, all Google's: at most 10 folders above one another and
300 in one place; a name is unique in its place; only an empty folder can be deleted, and restored for 30 days. Writers
are serialized, so what is checked here still holds at the commit.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from mlgate.api.call import Call
from mlgate.api.hierarchy import ACTIVE, DELETED, check_active, check_etag, is_active, lineage, place, violation
from mlgate.api.messages.message import Message, decode, encode
from mlgate.api.messages.operations import Operation
from mlgate.api.messages.resourcemanager import (
    Folder,
    FolderV3,
    ListFoldersResponse,
    ListFoldersResponseV3,
    MoveFolderRequest,
    SearchFoldersRequest,
    SearchFoldersResponse,
    SearchFoldersResponseV3,
    UndeleteFolderRequest,
)
from mlgate.api.method import Need
from mlgate.api.operations import remembered
from mlgate.api.paging import page
from mlgate.core.errors import FailedPrecondition, InvalidArgument
from mlgate.core.names import join
from mlgate.core.wire import encode_base64, format_timestamp, parse_mask, parse_timestamp
from mlgate.ports import Record, Transaction

MAX_LEVELS, MAX_IN_ONE_PLACE = 10, 300
RESTORABLE = timedelta(days=30)
_SHORTEST_NAME, _LONGEST_NAME = 3, 30
_SEARCHABLE = ("displayName", "parent", "state", "lifecycleState")
_MOVE = "resourcemanager.folders.move"

Shown = Folder | FolderV3


def create_folder(call: Call, body: Shown) -> Operation | Shown:
    """Raises InvalidArgument for a name that cannot be, FailedPrecondition where the tree has no room for it."""
    name = join("", "folders", str(secrets.randbelow(9 * 10**11) + 10**11))
    parent = place(call, call.resource)
    plain = {"displayName": _checked_name(body.display_name), "lifecycleState": ACTIVE}
    record = Record(name, "folder", parent.name, call.services.ids.uid(), plain, call.now)
    _check_room(call.tx, record, parent)
    call.tx.insert(record)
    _tell(call.tx, record)
    call.detail["name"] = name
    return _answer(call, record)


def get_folder(call: Call) -> Shown:
    return _shown(call, call.record(call.resource, "folder"))


def list_folders(call: Call) -> Message:
    """The folders directly in one place; `showDeleted` adds those that can still be restored."""
    deleted = bool(call.query.get("showDeleted"))
    parent = call.resource
    records, token = page(call, parent, "folder", lambda r: r.body, visible=lambda r: deleted or is_active(r))
    return _listed(call, ListFoldersResponse, ListFoldersResponseV3, records, token)


def search_folders(call: Call, body: SearchFoldersRequest | None = None) -> Message:
    """The folders that the caller may get, wherever they are."""
    if body is not None:  # v2 asks in the body what v3 asks in the query
        call.query |= {"query": body.query, "pageSize": body.page_size or 0, "pageToken": body.page_token}
    call.query["filter"] = call.query.get("query") or ""
    folders = [name for name in call.tx.facts("parent") if name.startswith("folders/")]
    names = (name for name in folders if call.may("resourcemanager.folders.get", name))
    records, token = page(call, "", "folder", _searched, _SEARCHABLE, names=names)
    return _listed(call, SearchFoldersResponse, SearchFoldersResponseV3, records, token)


def patch_folder(call: Call, body: Shown) -> Operation | Shown:
    """Rename the folder; nothing else of it can be changed."""
    record = call.record(call.resource, "folder")
    parse_mask(call.query.get("updateMask", ""), ("displayName",))
    check_active(record)
    if isinstance(body, FolderV3):
        check_etag(record, body.etag)
    record.body = {**record.body, "displayName": _checked_name(body.display_name)}
    _check_name_is_free(record, _siblings(call.tx, record, record.parent))
    return _write(call, record)


def needs_of_move(call: Call, body: MoveFolderRequest) -> Iterable[Need]:
    """Google's rule: the right to move on the folder's present parent and on its new one."""
    record = call.tx.get(call.resource)
    if record is not None:
        yield Need((_MOVE,), record.parent)
    if body.destination_parent:
        yield Need((_MOVE,), body.destination_parent)


def move_folder(call: Call, body: MoveFolderRequest) -> Operation:
    """Put the folder, with all that is in it, into another place. From the answer on only policies there count."""
    record = call.record(call.resource, "folder")
    check_active(record)
    parent = place(call, body.destination_parent or "", "destinationParent")
    if record.name in lineage(call.tx, parent.name):
        raise violation("CYCLE_INTRODUCED", f"{parent.name} is {record.name} itself or below it.")
    _check_room(call.tx, record, parent)
    call.detail |= {"sourceParent": record.parent, "destinationParent": parent.name}
    record.parent = parent.name
    _tell(call.tx, record)
    answer = _write(call, record)
    assert isinstance(answer, Operation)
    return answer


def delete_folder(call: Call) -> Operation | Shown:
    """Mark an empty folder for deletion: it can be restored for 30 days. One that is marked already stays as it is."""
    record = call.record(call.resource, "folder")
    if not is_active(record):
        return _answer(call, record)
    inside = [r for kind in ("folder", "project") for r in call.tx.children(record.name, kind) if is_active(r)]
    if inside:
        raise violation(
            "FOLDER_TO_DELETE_NON_EMPTY",
            f"{record.name} is not empty: move or delete {inside[0].name} and what else is in it.",
        )
    record.body = {**record.body, "lifecycleState": DELETED}
    record.hidden["deleteTime"] = format_timestamp(call.now)
    return _write(call, record)


def undelete_folder(call: Call, _: UndeleteFolderRequest) -> Operation | Shown:
    """Restore a folder where it was. Raises FailedPrecondition when its place has gone or has no room any more."""
    record = call.record(call.resource, "folder")
    if is_active(record):
        return _answer(call, record)
    if call.now - parse_timestamp(record.hidden["deleteTime"]) > RESTORABLE:
        raise FailedPrecondition(f"{record.name} was deleted more than {RESTORABLE.days} days ago.")
    _check_room(call.tx, record, place(call, record.parent))
    record.body = {**record.body, "lifecycleState": ACTIVE}
    del record.hidden["deleteTime"]
    return _write(call, record)


# --------------------------------------------------------------------------------------------------------------- rules


def _checked_name(text: str | None) -> str:
    """Raises InvalidArgument for a display name that no folder may have."""
    name = text or ""
    fits = _SHORTEST_NAME <= len(name) <= _LONGEST_NAME and all(c.isalnum() or c in " -_" for c in name)
    if not (fits and name[0].isalnum() and name[-1].isalnum()):
        message = (
            f'displayName "{name[:100]}" is invalid: use {_SHORTEST_NAME} to {_LONGEST_NAME} letters, digits, spaces, '
            "hyphens and underscores, starting and ending with a letter or digit."
        )
        raise InvalidArgument(message, fields=[("displayName", message)])
    return name


def _check_room(tx: Transaction, record: Record, parent: Record) -> None:
    """Whether the folder, with what is in it, may be in the place. Raises FailedPrecondition."""
    siblings = _siblings(tx, record, parent.name)
    if len(siblings) >= MAX_IN_ONE_PLACE:
        raise violation("MAX_CHILD_FOLDERS", f"{parent.name} holds {MAX_IN_ONE_PLACE} folders already.")
    _check_name_is_free(record, siblings)
    levels = len(lineage(tx, parent.name)) - 1 + _height(tx, record.name)
    if levels > MAX_LEVELS:
        message = f"Below {parent.name} there would be {levels} folders above one another; {MAX_LEVELS} are allowed."
        raise violation("ACTIVE_FOLDER_HEIGHT", message)


def _check_name_is_free(record: Record, siblings: list[Record]) -> None:
    name = record.body["displayName"]
    if any(sibling.body["displayName"] == name for sibling in siblings):
        raise violation("FOLDER_NAME_UNIQUENESS", f'A folder with the display name "{name}" is there already.')


def _siblings(tx: Transaction, record: Record, parent: str) -> list[Record]:
    return [r for r in tx.children(parent, "folder") if is_active(r) and r.name != record.name]


def _height(tx: Transaction, name: str) -> int:
    """How many folders are above one another from here down: 1 for a folder without others in it."""
    return 1 + max((_height(tx, r.name) for r in tx.children(name, "folder") if is_active(r)), default=0)


# --------------------------------------------------------------------------------------------------- stored and shown


def _tell(tx: Transaction, record: Record) -> None:
    """What every process must know of the folder: where it is."""
    tx.set_fact("parent", record.name, record.parent)


def _write(call: Call, record: Record) -> Operation | Shown:
    record.hidden["updateTime"] = format_timestamp(call.now)
    call.tx.update(record)
    return _answer(call, record)


def _answer(call: Call, record: Record) -> Operation | Shown:
    """The folder, or where the method gives an operation, one that is done."""
    shown = _shown(call, record)
    if call.method.gives is not Operation:
        return shown
    package = "google.cloud.resourcemanager.v3" if isinstance(shown, FolderV3) else "google.cloud.resourcemanager.v2"
    response = {"@type": f"type.googleapis.com/{package}.Folder", **encode(shown)}
    return remembered(call, "cf", response)


def _shown(call: Call, record: Record) -> Shown:
    body = record.body
    plain: dict[str, Any] = {
        "name": record.name,
        "parent": record.parent,
        "displayName": body["displayName"],
        "createTime": format_timestamp(record.created),
    }
    if call.method.version == "v2":
        return decode(Folder, {**plain, "lifecycleState": body["lifecycleState"]})
    times = {"updateTime": plain["createTime"], **record.hidden}
    return decode(FolderV3, {**plain, **times, "state": body["lifecycleState"], "etag": encode_base64(record.etag)})


def _searched(record: Record) -> dict[str, Any]:
    """What a query of `search` may name."""
    return {**record.body, "state": record.body["lifecycleState"], "parent": record.parent}


def _listed(call: Call, v2: Any, v3: Any, records: list[Record], token: str) -> Message:
    message = v2 if call.method.version == "v2" else v3
    found: Message = message(folders=[_shown(call, record) for record in records], next_page_token=token)
    return found
