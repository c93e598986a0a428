"""Access reviews: which grants, on which resources, page by page.

The answer is exact: `core/iam/review.py` judges every grant as decisions do, in the world of the call's transaction.
Resources come in order of their names, the grants of each in order of their marks, and a page begins where the one
before ended, so that what it costs depends on the page and not on what there is.

A review may be about one resource, or about all in a scope. Without a resource each grant is told where it stands, and
those from above the scope on the scope itself; with `expand_resources` it is told for everything below, too, that has a
policy of its own.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from mlgate.api.call import Call
from mlgate.api.paging import page_size
from mlgate.api.params import canonical
from mlgate.api.sight import CallersSight
from mlgate.api.world import StoredWorld, world_of
from mlgate.core.errors import InvalidArgument, NotFound
from mlgate.core.iam import permissions
from mlgate.core.iam.evaluate import ancestry
from mlgate.core.iam.index import reachable
from mlgate.core.iam.principals import ALL_AUTHENTICATED_USERS, ALL_USERS, ANONYMOUS, parse_member
from mlgate.core.iam.review import Access, Mark, Review
from mlgate.core.names import from_full_name, type_of
from mlgate.core.wire import format_timestamp, page_token, parse_page_token
from mlgate.ports import Transaction

#: How many entries a page has, and how many resources are looked at for one.
PAGE_SIZE, MAX_LOOKED = 1000, 1000
#: How many permissions and roles may be selected (Cloud Asset's limit).
MAX_SELECTED = 10
_CHUNK = 500
_NO_TEXT = re.compile("[\x00\ud800-\udfff]")
_END = Mark("\U0010ffff", "", "", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What a review is about: what in `scope`, whom (everybody for ""), which access (any, where neither permissions
    nor roles are selected), and when (now for None)."""

    scope: str
    at: datetime | None = None
    resource: str = ""
    identity: str = ""
    permissions: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    expand_resources: bool = False
    expand_groups: bool = True
    include_ineffective: bool = False

    @property
    def is_any_access(self) -> bool:
        return not (self.permissions or self.roles)


@dataclass(frozen=True, slots=True)
class Page:
    """The entries of one page, the token of the next ("" at the end), and the groups that stand for themselves because
    the caller may not look into them. A page may have fewer entries than were asked for, even none, when many resources
    had to be looked at."""

    entries: list[Access]
    token: str
    closed: Collection[str]


def page(call: Call, query: Query) -> Page:
    """One page of a review."""
    mark = (call.principal, call.method.id, repr(query))
    token = call.query.get("pageToken", "")
    begin, after = _position(parse_page_token(token, *mark)) if token else ("", None)
    size = page_size(call, PAGE_SIZE, PAGE_SIZE)
    world = world_of(call)
    review = Review(world, (query.at or call.now).timestamp(), CallersSight(call).members)
    found: list[Access] = []
    previous = begin
    for looked, name in enumerate(_resources(call, query, world, begin)):
        if looked == MAX_LOOKED:
            return Page(found, page_token(json.dumps([previous, *_END]), *mark), review.closed)
        for access in _grants(review, query, name, after if name == begin else None):
            if not (access.allowed or query.include_ineffective):
                continue
            if len(found) == size:
                token = page_token(json.dumps([found[-1].resource, *found[-1].mark]), *mark)
                return Page(found, token, review.closed)
            found.append(access)
        previous = name
    return Page(found, "", review.closed)


def _position(text: str) -> tuple[str, Mark]:
    """Behind which grant of which resource a page begins."""
    try:
        resource, *mark = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        resource, mark = "", []
    is_text = all(isinstance(part, str) and not _NO_TEXT.search(part) for part in (resource, *mark))
    if len(mark) != len(_END) or not is_text:
        message = "pageToken was not given out for this query: start again without one."
        raise InvalidArgument(message, fields=[("pageToken", message)])
    return resource, Mark(*mark)


def _grants(review: Review, query: Query, resource: str, after: Mark | None) -> Iterator[Access]:
    chosen = permissions.ALL if query.is_any_access else query.permissions
    inherited = bool(query.resource) or query.expand_resources or resource == query.scope
    if query.identity:
        return review.what_can(query.identity, chosen, resource, roles=query.roles, inherited=inherited, after=after)
    listed = review.who_can if query.expand_groups else review.members_who_can
    return listed(chosen, resource, roles=query.roles, inherited=inherited, after=after)


# ---------------------------------------------------------------------------------------------------------- resources


def _resources(call: Call, query: Query, world: StoredWorld, begin: str) -> Iterator[str]:
    """The resources to look at, in order of name, from the name `begin` on."""
    if query.resource:
        return Tree(call.tx, [query.resource]).walk(begin) if query.expand_resources else iter([query.resource])
    whole = Tree(call.tx, [query.scope])
    if not query.identity:
        return whole.walk(begin)
    naming = call.services.snapshot.named(query.identity)
    if query.expand_resources and not naming.isdisjoint(ancestry(world, query.scope)):
        return whole.walk(begin)  # what is granted there counts everywhere
    places = {query.scope, *(name for name in naming if name in whole)}
    if query.expand_resources:
        return Tree(call.tx, places - {query.scope}).walk(begin)
    return iter(sorted(name for name in places if name >= begin))


class Tree:
    """Some resources and all below them, as ranges of names. Folders, projects and buckets do not have their parents in
    their names: each of them is a range of its own."""

    def __init__(self, tx: Transaction, roots: Iterable[str]) -> None:
        self._tx = tx
        self._places = _with_places_below(tx, roots)
        ranges = [span for place in self._places for span in ((place, f"{place}\x00"), (f"{place}/", f"{place}0"))]
        self._ranges: list[tuple[str, str]] = []
        for first, before in sorted(ranges):  # "0" comes next to "/"; of ranges in one another the outer is kept
            if not self._ranges or first >= self._ranges[-1][1]:
                self._ranges.append((first, before))

    def __contains__(self, name: str) -> bool:
        at = bisect_right(self._ranges, (name, "\U0010ffff")) - 1
        return at >= 0 and name < self._ranges[at][1]

    def walk(self, begin: str) -> Iterator[str]:
        """The roots, folders, projects and buckets, and whatever else has a policy of its own, in order of name, from
        `begin` on."""
        for first, before in self._ranges:
            if before.endswith("\x00"):
                if first >= begin:
                    yield first
            elif before > begin:
                yield from self._policied(max(first, begin), before)

    def _policied(self, first: str, before: str) -> Iterator[str]:
        while True:
            names = self._tx.policied(first, before, _CHUNK)
            yield from names
            if len(names) < _CHUNK:
                return
            first = f"{names[-1]}\x01"  # not \x00, which PostgreSQL refuses


def _with_places_below(tx: Transaction, roots: Iterable[str]) -> set[str]:
    """The roots, and the folders, projects, buckets and groups below them."""
    roots = list(roots)
    inside: dict[str, list[str]] = {}
    if any(root.startswith(("organizations/", "folders/")) for root in roots):
        for name, parent in tx.facts("parent").items():
            inside.setdefault(parent, []).append(name)
        for project_id, project in tx.facts("project").items():
            inside.setdefault(project["parent"], []).append(f"projects/{project_id}")
    if any(root.count("/") == 1 for root in roots):
        for bucket, project_id in tx.facts("bucket").items():
            inside.setdefault(f"projects/{project_id}", []).append(f"buckets/{bucket}")
    return set(reachable(roots, inside))


# -------------------------------------------------------------------------------------------------------- what is asked


def resource_in(call: Call, text: str, field: str) -> str:
    """The name of a resource in the scope of the call, given in full or as `projects/p/models/m`. Raises
    InvalidArgument for one that is elsewhere, the same whether or not it exists, and NotFound in the scope."""
    name = canonical(from_full_name(text) if text.startswith("//") else text, call.services.snapshot)
    if call.resource not in ancestry(world_of(call), name):
        raise _refuse(field, f'{field}: "{text[:200]}" is not in {call.resource}, or there is no such resource.')
    if not _exists(call.tx, name):
        raise NotFound(f"Resource '{name}' was not found.")
    return name


def _exists(tx: Transaction, name: str) -> bool:
    kind = type_of(name)
    if kind == "storage.googleapis.com/Object":
        _, bucket, _, key = name.split("/", 3)
        return tx.get_object(bucket, key) is not None
    return kind == "ml.googleapis.com/Location" or tx.get(name) is not None


def identity(text: str, field: str) -> str:
    """Whom a review is about: a user, service account or group, everybody who is signed in, or `allUsers`: whoever is
    not. Raises InvalidArgument."""
    if text in (ANONYMOUS, ALL_USERS):
        return ANONYMOUS
    if text == ALL_AUTHENTICATED_USERS or text.startswith(("user:", "serviceAccount:", "group:")):
        return parse_member(text)
    raise _refuse(
        field,
        f'{field}: "{text[:200]}" is nobody whom a review can be about: give user:EMAIL, serviceAccount:EMAIL, '
        f"group:EMAIL, {ALL_AUTHENTICATED_USERS} or {ANONYMOUS}.",
    )


def selected(call: Call, given: list[str], roles: list[str], field: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The permissions and roles that a review is about. Raises InvalidArgument for one that is not there."""
    if len(given) + len(roles) > MAX_SELECTED:
        raise _refuse(field, f"{field}: at most {MAX_SELECTED} permissions and roles can be selected.")
    for permission in given:
        if permission not in permissions.ALL:
            raise _refuse(field, f'{field}: "{permission[:100]}" is no permission, such as ml.models.predict.')
    for role in roles:
        if role not in call.services.roles and call.tx.fact("role", role) is None:
            raise _refuse(field, f'{field}: "{role[:100]}" is no role, such as roles/ml.modelUser.')
    return tuple(dict.fromkeys(given)), tuple(dict.fromkeys(roles))


def moment(call: Call, given: datetime | None, field: str) -> datetime | None:
    """The time to review at. Raises InvalidArgument for one that has passed: what was then is not known."""
    if given is not None and given < call.now:
        raise _refuse(field, f"{field}: {format_timestamp(given)} has passed; a review is of now, or of what will be.")
    return given


def _refuse(field: str, message: str) -> InvalidArgument:
    return InvalidArgument(message, fields=[(field, message)])
