"""Service accounts and their keys (iam v1).

An account is its uid, not its address: when it is deleted, bindings that name it turn to `deleted:...?uid=` and grant
nothing, also to a later account of the same address (T-25); undelete turns those that are left back. Disabling takes
effect with the answer: tokens and keys of the account are refused from then on.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import timedelta

from mlgate.api import members
from mlgate.api.call import Call
from mlgate.api.messages.iam import (
    CreateServiceAccountKeyRequest,
    CreateServiceAccountRequest,
    DisableServiceAccountKeyRequest,
    DisableServiceAccountRequest,
    EnableServiceAccountKeyRequest,
    EnableServiceAccountRequest,
    ListServiceAccountKeysResponse,
    ListServiceAccountsResponse,
    PatchServiceAccountRequest,
    ServiceAccount,
    ServiceAccountKey,
    UndeleteServiceAccountRequest,
    UndeleteServiceAccountResponse,
)
from mlgate.api.messages.message import Empty, decode, encode
from mlgate.api.paging import page
from mlgate.core.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, Unimplemented
from mlgate.core.names import check_id, id_of, join, parent_of, service_account_email
from mlgate.core.wire import encode_base64, parse_mask
from mlgate.ports import Record, Transaction

_KEY_LIFETIME = timedelta(days=3650)
_MAX_KEYS = 10
_TEXT_LIMITS = {"displayName": 100, "description": 256}


def create_account(call: Call, body: CreateServiceAccountRequest) -> ServiceAccount:
    """Raises AlreadyExists, InvalidArgument."""
    project = call.record(call.resource, "project")
    account_id = check_id("service account", body.account_id or "", "accountId")
    given = body.service_account or ServiceAccount()
    _check_texts(given)
    project_id = id_of(project.name)
    email, uid = service_account_email(account_id, project_id), call.services.ids.uid()
    record = Record(
        name=join(project.name, "serviceAccounts", email),
        kind="serviceAccount",
        parent=project.name,
        uid=uid,
        body=encode(
            ServiceAccount(
                name=join(project.name, "serviceAccounts", email),
                project_id=project_id,
                unique_id=uid,
                email=email,
                display_name=given.display_name,
                description=given.description,
                oauth2_client_id=uid,
            )
        ),
        created=call.now,
    )
    try:
        call.tx.insert(record)
    except AlreadyExists:
        raise AlreadyExists(f"Service account {account_id} already exists within project {project.name}.") from None
    # Bindings to this address and memberships from before it was anybody's are no rights of this account.
    member = f"serviceAccount:{email}"
    members.leave_all(call.tx, member)
    members.rename_member(call.tx, member, f"deleted:{member}?uid=0", was_nobody=True)
    _tell(call.tx, record)
    return _shown(record)


def get_account(call: Call) -> ServiceAccount:
    return _shown(call.record(call.resource, "serviceAccount"))


def list_accounts(call: Call) -> ListServiceAccountsResponse:
    call.record(call.resource, "project")
    records, token = page(call, call.resource, "serviceAccount", lambda r: r.body)
    return ListServiceAccountsResponse(accounts=[_shown(r) for r in records], next_page_token=token)


def patch_account(call: Call, body: PatchServiceAccountRequest) -> ServiceAccount:
    record = call.record(call.resource, "serviceAccount")
    given = body.service_account or ServiceAccount()
    _check_texts(given)
    for path in parse_mask(body.update_mask or "", ("displayName", "description")):
        value = encode(given).get(path)
        record.body = {k: v for k, v in {**record.body, path: value}.items() if v}
    call.tx.update(record)
    return _shown(record)


def disable_account(call: Call, _: DisableServiceAccountRequest) -> Empty:
    return _switch(call, disabled=True)


def enable_account(call: Call, _: EnableServiceAccountRequest) -> Empty:
    return _switch(call, disabled=False)


def _switch(call: Call, *, disabled: bool) -> Empty:
    record = call.record(call.resource, "serviceAccount")
    record.body = {k: v for k, v in {**record.body, "disabled": disabled}.items() if v}
    call.tx.update(record)
    _tell(call.tx, record)
    return Empty()


def delete_account(call: Call) -> Empty:
    """Delete the account and its keys; its bindings stay visible and grant nothing, and it is in no group any more."""
    record = call.record(call.resource, "serviceAccount")
    call.tx.delete(record.name)
    for key in call.tx.children(record.name, "serviceAccountKey"):
        call.tx.delete(key.name)
    call.tx.insert(replace(record, name=f"deletedServiceAccounts/{record.uid}", kind="deletedServiceAccount"))
    call.tx.set_policy(record.name, None)
    call.tx.set_fact("account", record.body["email"], None)
    plain, deleted = _members(record)
    members.leave_all(call.tx, plain)
    members.rename_member(call.tx, plain, deleted)
    return Empty()


def undelete_account(call: Call, _: UndeleteServiceAccountRequest) -> UndeleteServiceAccountResponse:
    """Restore a deleted account by its unique id. Raises NotFound, FailedPrecondition when the address was reused."""
    uid = id_of(call.params["name"])
    record = call.tx.get(f"deletedServiceAccounts/{uid}")
    if record is None or record.parent != parent_of(call.resource):
        raise NotFound(f"No deleted service account of {parent_of(call.resource)} has the unique id {uid[:50]}.")
    call.tx.delete(record.name)
    restored = replace(record, name=record.body["name"], kind="serviceAccount")
    try:
        call.tx.insert(restored)
    except AlreadyExists:
        raise FailedPrecondition(f"{record.body['email']} was given to a new account: delete that one first.") from None
    _tell(call.tx, restored)
    plain, deleted = _members(restored)
    members.rename_member(call.tx, deleted, plain)
    return UndeleteServiceAccountResponse(restored_account=_shown(restored))


def _members(record: Record) -> tuple[str, str]:
    email = record.body["email"]
    return f"serviceAccount:{email}", f"deleted:serviceAccount:{email}?uid={record.uid}"


def _tell(tx: Transaction, record: Record) -> None:
    """What every process must know of the account."""
    tx.set_fact(
        "account",
        record.body["email"],
        {"uid": record.uid, "project": id_of(record.parent), "disabled": bool(record.body.get("disabled"))},
    )


def _shown(record: Record) -> ServiceAccount:
    return decode(ServiceAccount, {**record.body, "etag": encode_base64(record.etag)})


def _check_texts(account: ServiceAccount) -> None:
    for field, limit in _TEXT_LIMITS.items():
        if len(encode(account).get(field, "").encode()) > limit:
            message = f"{field} is longer than {limit} bytes."
            raise InvalidArgument(message, fields=[(f"serviceAccount.{field}", message)])


# ------------------------------------------------------------------------------------------------------------- keys


def create_key(call: Call, body: CreateServiceAccountKeyRequest) -> ServiceAccountKey:
    """A new key. The private half is in this answer and nowhere else: the server keeps the public half."""
    account = call.record(call.resource, "serviceAccount")
    if body.private_key_type == "TYPE_PKCS12_FILE" or body.key_algorithm == "KEY_ALG_RSA_1024":
        raise Unimplemented("Only TYPE_GOOGLE_CREDENTIALS_FILE keys of KEY_ALG_RSA_2048 are implemented.")
    if call.tx.count(account.name, "serviceAccountKey") >= _MAX_KEYS:
        raise FailedPrecondition(f"{account.name} has its {_MAX_KEYS} keys already: delete one first.")
    private, public = call.services.identity.make_key()
    key_id = hashlib.sha1(public.encode(), usedforsecurity=False).hexdigest()
    name = join(account.name, "keys", key_id)
    shown = ServiceAccountKey(
        name=name,
        key_algorithm="KEY_ALG_RSA_2048",
        key_origin="GOOGLE_PROVIDED",
        key_type="USER_MANAGED",
        private_key_type="TYPE_GOOGLE_CREDENTIALS_FILE",
        valid_after_time=call.now,
        valid_before_time=call.now + _KEY_LIFETIME,
    )
    call.tx.insert(
        Record(
            name=name,
            kind="serviceAccountKey",
            parent=account.name,
            uid=key_id,
            body=encode(shown),
            created=call.now,
            hidden={"public": public},
        )
    )
    shown.private_key_data = _key_file(call, account, key_id, private)
    return shown


def _key_file(call: Call, account: Record, key_id: str, private: str) -> bytes:
    """The credentials file that Google's client libraries read; its addresses are ours (api.md rule 6)."""
    base = call.settings.public_url or call.request.base_url
    content = {
        "type": "service_account",
        "project_id": id_of(account.parent),
        "private_key_id": key_id,
        "private_key": private,
        "client_email": account.body["email"],
        "client_id": account.uid,
        "auth_uri": f"{base}/auth",
        "token_uri": f"{base}/token",
        "universe_domain": "googleapis.com",
    }
    return (json.dumps(content, indent=2) + "\n").encode()


def get_key(call: Call) -> ServiceAccountKey:
    record = call.record(call.resource, "serviceAccountKey")
    shown = decode(ServiceAccountKey, record.body)
    kind = call.query.get("publicKeyType", "TYPE_NONE")
    if kind == "TYPE_RAW_PUBLIC_KEY":
        shown.public_key_data = record.hidden["public"].encode()
    elif kind == "TYPE_X509_PEM_FILE":
        raise Unimplemented("publicKeyType TYPE_X509_PEM_FILE is not implemented: use TYPE_RAW_PUBLIC_KEY.")
    return shown


def list_keys(call: Call) -> ListServiceAccountKeysResponse:
    """The account's keys; all are USER_MANAGED, so asking only for SYSTEM_MANAGED ones answers none."""
    account = call.record(call.resource, "serviceAccount")
    kinds = {value for name, value in call.request.query if name in ("keyTypes", "key_types")}
    if kinds and "USER_MANAGED" not in kinds:
        return ListServiceAccountKeysResponse()
    keys = call.tx.children(account.name, "serviceAccountKey")
    return ListServiceAccountKeysResponse(keys=[decode(ServiceAccountKey, k.body) for k in keys])


def delete_key(call: Call) -> Empty:
    call.tx.delete(call.record(call.resource, "serviceAccountKey").name)
    return Empty()


def disable_key(call: Call, _: DisableServiceAccountKeyRequest) -> Empty:
    return _switch_key(call, disabled=True)


def enable_key(call: Call, _: EnableServiceAccountKeyRequest) -> Empty:
    return _switch_key(call, disabled=False)


def _switch_key(call: Call, *, disabled: bool) -> Empty:
    record = call.record(call.resource, "serviceAccountKey")
    record.body = {k: v for k, v in {**record.body, "disabled": disabled}.items() if v}
    call.tx.update(record)
    return Empty()
