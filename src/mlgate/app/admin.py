"""What is done beside the server, by whoever may read its data directory."""

from __future__ import annotations

import secrets
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from mlgate.adapters.db.migrate import migrate
from mlgate.adapters.db.store import SqlStore
from mlgate.adapters.identity.tokens import new_token
from mlgate.adapters.system import RandomIds, SystemClock
from mlgate.api.handlers.projects import new_project
from mlgate.api.handlers.sign_in import new_code
from mlgate.app.places import database_url, open_store, places
from mlgate.core.errors import AlreadyExists, FailedPrecondition, InvalidArgument
from mlgate.core.iam.policy import Binding, Policy
from mlgate.core.iam.principals import parse_principal
from mlgate.core.names import ORGANIZATION, check_id
from mlgate.core.wire import format_timestamp
from mlgate.ports import AuditEntry, Author, Record
from mlgate.settings import Settings

_CODE_SECONDS = 600.0


def initialize(settings: Settings, owner: str, project_id: str) -> None:
    """Create the database, the organization, and a first project with its Owner. Raises AlreadyExists the second time,
    and stores nothing when anything is wrong."""
    principal = parse_principal(owner)
    check_id("project", project_id, "project")
    root = places(settings).root
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    root.chmod(0o700)
    url = database_url(settings)
    migrate(url)
    store = SqlStore(url)
    now = SystemClock().now()
    try:
        with store.write() as tx:
            if tx.get(ORGANIZATION) is not None:
                raise AlreadyExists(f"{settings.database_url or root} is initialized already.")
            tx.author = Author(principal, now)
            organization = {"name": ORGANIZATION, "displayName": "mlgate", "lifecycleState": "ACTIVE"}
            tx.insert(Record(ORGANIZATION, "organization", "", "1", organization, now))
            governing = (
                "roles/resourcemanager.organizationAdmin",
                "roles/resourcemanager.projectCreator",
                "roles/resourcemanager.folderAdmin",
                "roles/cloudidentity.groupsAdmin",
                "roles/iam.denyAdmin",
            )
            tx.set_policy(ORGANIZATION, Policy(tuple(Binding(role, (principal,)) for role in governing)))
            number = str(secrets.randbelow(9 * 10**11) + 10**11)
            new_project(tx, {"projectId": project_id, "name": project_id}, number, principal, now)
            tx.audit(_admin_entry("mlgate.admin.init", principal, now, {"project": project_id}))
    finally:
        store.close()


def _admin_entry(method: str, principal: str, now: datetime, detail: dict[str, Any]) -> AuditEntry:
    """An act of whoever has the data directory, in the audit log like the others."""
    return AuditEntry(
        time=now, request_id="", method=method, resource=principal, principal="admin", permission="",
        because={"access": "data directory"}, outcome="OK", detail=detail,
    )  # fmt: skip


def issue_token(settings: Settings, principal: str, lifetime: float) -> tuple[str, datetime]:
    """A bearer token and its end, for whoever can read the data directory.

    Raises InvalidArgument, and FailedPrecondition for an account that is not there or disabled.
    """
    member = parse_principal(principal)
    _check_lifetime(settings, lifetime)
    store = open_store(settings)
    try:
        with store.write() as tx:
            account = tx.fact("account", member.partition(":")[2]) if member.startswith("serviceAccount:") else None
            if member.startswith("serviceAccount:") and (account is None or account["disabled"]):
                raise FailedPrecondition(f"{member} does not exist or is disabled.")
            now = SystemClock().now()
            expires = now + timedelta(seconds=lifetime)
            tx.audit(_admin_entry("mlgate.admin.token", member, now, {"expires": format_timestamp(expires)}))
            return new_token(tx, member, expires, account["uid"] if account else ""), expires
    finally:
        store.close()


def login_code(settings: Settings, principal: str, lifetime: float) -> str:
    """A one-time code that opens a session of `lifetime` seconds for a person, good for ten minutes.

    Raises InvalidArgument.
    """
    member = parse_principal(principal)
    if not member.startswith("user:"):
        raise InvalidArgument(f"{member} signs in with its key; a link is for a person: user:EMAIL.")
    _check_lifetime(settings, lifetime)
    store = open_store(settings)
    try:
        with store.write() as tx:
            now, code = SystemClock().now(), RandomIds().token()
            new_code(tx, code, member, lifetime, now, now + timedelta(seconds=_CODE_SECONDS))
            tx.audit(_admin_entry("mlgate.admin.loginLink", member, now, {"lifetime": lifetime}))
            return code
    finally:
        store.close()


def console_address(settings: Settings) -> str:
    """Where the console of a running server listens; where it would, when none runs."""
    with suppress(FileNotFoundError):
        return places(settings).console.read_text().strip()
    return f"http://{settings.host}:{settings.console_port}"


def _check_lifetime(settings: Settings, lifetime: float) -> None:
    if not 1 <= lifetime <= settings.max_token_lifetime:
        raise InvalidArgument(
            f"A lifetime of {lifetime:g}s is not possible: give 1s to {settings.max_token_lifetime:g}s."
        )
