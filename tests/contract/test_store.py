"""The contract of the port Store, run on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from mlgate.adapters.db import schema
from mlgate.adapters.db.migrate import migrate, newest, version_of
from mlgate.adapters.db.store import SqlStore, engine_for, sqlite_url
from mlgate.core.errors import Aborted, AlreadyExists
from mlgate.core.iam.policy import Binding, Policy, to_plain
from mlgate.core.usage import Counts
from mlgate.ports import AuditEntry, Author, Fact, PolicyRevision, Record, StoredObject, Task, Token
from tests.postgres import fresh_database, postgres

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)
pytestmark = pytest.mark.xdist_group("postgres")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return sqlite_url(tmp_path)
    return fresh_database(request.getfixturevalue("server"), f"t{uuid.uuid4().hex[:12]}")


@pytest.fixture
def store(url: str) -> Iterator[SqlStore]:
    migrate(url)
    made = SqlStore(url)
    yield made
    made.close()


def record(name: str, parent: str = "projects/p", kind: str = "model", uid: str = "1", **body: object) -> Record:
    return Record(name=name, kind=kind, parent=parent, uid=uid, body=dict(body), created=NOW)


def test_a_new_database_has_no_version_and_a_migrated_one_the_newest(url: str) -> None:
    assert version_of(url) is None
    migrate(url)
    assert version_of(url) == newest()
    migrate(url)  # a second time changes nothing


def test_a_database_of_the_first_schema_keeps_its_policies_as_their_first_revisions(url: str) -> None:
    migrate(url, to="0001")
    old = Policy((Binding("roles/viewer", ("user:a@example.com",)),), etag=b"12345678")
    plain = {"model": to_plain(old), "project": to_plain(replace(old, audit_configs=({"service": "x"},))), "gone": None}
    engine = engine_for(url)
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        for key, value in plain.items():
            stored = None if value is None else json.dumps(value)
            connection.execute(sa.insert(schema.facts).values(kind="policy", key=key, value=stored, revision=2))
        connection.execute(sa.insert(schema.facts).values(kind="role", key="model2", value="[]", revision=2))
    engine.dispose()
    migrate(url)
    store = SqlStore(url)
    try:
        with store.write() as tx:
            tx.author = Author("user:b@example.com", NOW)
            tx.set_policy("model", Policy())
        with store.read() as tx:
            assert tx.policy_revisions("model", limit=9)[1] == PolicyRevision(1, old, None)
            assert [r.number for r in tx.policy_revisions("model", limit=9)] == [2, 1]
            assert tx.policy_revisions("project", limit=9)[0].policy.audit_configs == ({"service": "x"},)
            assert tx.policy_revisions("gone", limit=9) == tx.policy_revisions("model2", limit=9) == []
    finally:
        store.close()


def test_a_record_comes_back_as_it_was_stored(store: SqlStore) -> None:
    kept = record("projects/p/models/m", description="größe \U0001f600", nested={"a": [1, None, 2.5]})
    kept.hidden = {"x": 1}
    with store.write() as tx:
        tx.insert(kept)
    with store.read() as tx:
        found = tx.get(kept.name)
    assert found == kept
    assert found.etag


def test_a_name_is_given_out_once_and_the_transaction_goes_on(store: SqlStore) -> None:
    with store.write() as tx:
        tx.insert(record("projects/p/models/m"))
        with pytest.raises(AlreadyExists):
            tx.insert(record("projects/p/models/m", uid="2"))
        tx.insert(record("projects/p/models/n"))
    with store.read() as tx:
        assert [r.name for r in tx.children("projects/p", "model")] == ["projects/p/models/m", "projects/p/models/n"]


def test_an_update_from_an_old_reading_is_aborted(store: SqlStore) -> None:
    with store.write() as tx:
        tx.insert(record("projects/p/models/m"))
    with store.read() as tx:
        first, second = tx.get("projects/p/models/m"), tx.get("projects/p/models/m")
    with store.write() as tx:
        first.body = {"description": "one"}
        tx.update(first)
    with pytest.raises(Aborted), store.write() as tx:
        tx.update(second)
    with store.read() as tx:
        assert tx.get("projects/p/models/m").body == {"description": "one"}


def test_a_failing_transaction_stores_nothing(store: SqlStore) -> None:
    before = store.revision()

    def failing() -> None:
        with store.write() as tx:
            tx.insert(record("projects/p/models/m"))
            tx.set_policy("projects/p/models/m", Policy((Binding("roles/owner", ("user:a@example.com",)),)))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        failing()
    assert store.revision() == before
    assert store.changes(0)[1] == []
    with store.read() as tx:
        assert tx.get("projects/p/models/m") is None


def test_lists_are_in_code_point_order_on_every_database(store: SqlStore) -> None:
    names = [f"projects/p/models/{n}" for n in ("B", "a", "Z9", "_", "a_b", "é", "\U0001f600", "z", "a-b")]
    with store.write() as tx:
        for name in names:
            tx.insert(record(name))
        for name in names:
            tx.put_object(StoredObject("b", name, 1, "d", 1, {}))
    with store.read() as tx:
        assert [r.name for r in tx.children("projects/p", "model")] == sorted(names)
        assert [o.name for o in tx.list_objects("b")] == sorted(names)
        after = sorted(names)[3]
        assert [r.name for r in tx.children("projects/p", "model", after=after, limit=2)] == sorted(names)[4:6]


def test_a_policy_has_a_new_etag_after_each_write_and_raises_the_revision(store: SqlStore) -> None:
    policy = Policy((Binding("roles/viewer", ("user:a@example.com",)),))
    seen, revisions = set(), []
    for _ in range(3):
        with store.write() as tx:
            seen.add(tx.set_policy("projects/p", policy).etag)
        revisions.append(store.revision())
    assert len(seen) == 3
    assert revisions == sorted(set(revisions))


def set_viewers(store: SqlStore, resource: str, *members: str, author: Author | None = None) -> Policy:
    with store.write() as tx:
        tx.author = author
        return tx.set_policy(resource, Policy((Binding("roles/viewer", members),)))


def test_each_write_of_a_policy_is_a_revision_with_its_author(store: SqlStore) -> None:
    ada, bob = Author("user:ada@example.com", NOW), Author("user:bob@example.com", NOW + timedelta(days=1))
    first = set_viewers(store, "projects/p", "user:a@example.com", author=ada)
    second = set_viewers(store, "projects/p", "user:b@example.com", author=bob)
    set_viewers(store, "projects/q", "user:a@example.com")
    with store.read() as tx:
        both = [PolicyRevision(2, second, bob), PolicyRevision(1, first, ada)]
        assert tx.policy_revisions("projects/p", limit=9) == both
        assert tx.policy_revisions("projects/p", limit=1) == both[:1]
        assert tx.policy_revisions("projects/p", before=2, limit=9) == both[1:]
        assert tx.policy_revisions("projects/p", before=1, limit=9) == []
        assert [r.author for r in tx.policy_revisions("projects/q", limit=9)] == [None]


def test_a_forgotten_policy_takes_its_history_along(store: SqlStore) -> None:
    for name in ("projects/p/models/m", "projects/p/models/m2"):
        set_viewers(store, name, "user:a@example.com")
        set_viewers(store, name, "user:b@example.com")
    with store.write() as tx:
        tx.set_policy("projects/p/models/m", None)
    with store.read() as tx:
        assert tx.policy_revisions("projects/p/models/m", limit=9) == []
        assert len(tx.policy_revisions("projects/p/models/m2", limit=9)) == 2
    again = set_viewers(store, "projects/p/models/m", "user:c@example.com")
    with store.read() as tx:
        assert tx.policy_revisions("projects/p/models/m", limit=9) == [PolicyRevision(1, again, None)]


@pytest.mark.parametrize(("kept", "numbers"), [(3, [7, 6, 5]), (1, [7]), (100, [7, 6, 5, 4, 3, 2, 1])])
def test_only_the_newest_revisions_are_kept(url: str, kept: int, numbers: list[int]) -> None:
    migrate(url)
    store = SqlStore(url, kept)
    try:
        set_viewers(store, "projects/q", "user:a@example.com")
        for n in range(7):
            set_viewers(store, "projects/p", f"user:u{n}@example.com")
        with store.read() as tx:
            assert [r.number for r in tx.policy_revisions("projects/p", limit=9)] == numbers
            assert len(tx.policy_revisions("projects/q", limit=9)) == 1
    finally:
        store.close()


def test_a_write_that_fails_is_no_revision(store: SqlStore) -> None:
    def failing() -> None:
        with store.write() as tx:
            tx.set_policy("projects/p", Policy())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        failing()
    with store.read() as tx:
        assert tx.policy_revisions("projects/p", limit=9) == []


def test_changes_tell_what_is_new_and_what_is_gone(store: SqlStore) -> None:
    with store.write() as tx:
        tx.set_fact("account", "a@example.com", {"uid": "1"})
        tx.set_fact("account", "b@example.com", {"uid": "2"})
    revision, facts = store.changes(0)
    assert {f.key for f in facts} == {"a@example.com", "b@example.com"}
    with store.write() as tx:
        tx.set_fact("account", "a@example.com", None)
        assert tx.facts("account") == {"b@example.com": {"uid": "2"}}
    assert store.changes(revision)[1] == [Fact("account", "a@example.com", None)]
    assert store.changes(0) == (store.revision(), [Fact("account", "b@example.com", {"uid": "2"})])
    assert store.changes(store.revision())[1] == []


def test_a_member_is_found_in_the_policies_that_name_it_and_only_there(store: SqlStore) -> None:
    with store.write() as tx:
        tx.set_policy("projects/p", Policy((Binding("roles/viewer", ("user:a_b@example.com",)),)))
        tx.set_policy("projects/q", Policy((Binding("roles/viewer", ("user:aXb@example.com", "user:c@d.e")),)))
        assert [r for r, _ in tx.policies_naming("user:a_b@example.com")] == ["projects/p"]


def test_resources_with_policies_are_found_by_their_range_of_names(store: SqlStore) -> None:
    names = ["projects/p", "projects/p-x", "projects/p/models/B", "projects/p/models/a", "projects/p0"]
    with store.write() as tx:
        for name in reversed(names):
            tx.set_policy(name, Policy((Binding("roles/viewer", ("user:a@example.com",)),)))
        tx.set_policy("projects/p/models/gone", None)
    with store.read() as tx:
        assert tx.policied("projects/p/", "projects/p0", 9) == names[2:4]
        assert tx.policied("projects/p/models/B\x01", "projects/p0", 9) == names[3:4]
        assert tx.policied("", "z", 2) == names[:2]


def test_a_token_is_found_by_its_digest_until_it_is_dropped(store: SqlStore) -> None:
    with store.write() as tx:
        tx.add_token(Token(b"1" * 32, "user:a@example.com", NOW + timedelta(hours=1)))
        tx.add_token(Token(b"2" * 32, "user:b@example.com", NOW - timedelta(hours=1), "77"))
    with store.read() as tx:
        assert tx.token(b"2" * 32).uid == "77"
    with store.write() as tx:
        assert tx.drop_expired_tokens(NOW) == 1
        assert tx.token(b"2" * 32) is None
        assert tx.token(b"1" * 32).principal == "user:a@example.com"


def test_an_audit_entry_is_stored_with_the_rest_of_its_transaction(store: SqlStore) -> None:
    with store.write() as tx:
        tx.audit(AuditEntry(NOW, "r", "m", "projects/p", "user:a@b.c", "x.y.z", {"role": "r"}, "OK", {"a": 1}))


KINDS = ("deploy",)


def test_a_task_is_claimed_by_one_worker_at_a_time(store: SqlStore) -> None:
    with store.write() as tx:
        tx.enqueue(Task("projects/p/operations/1", "deploy", {"a": 1}))
    first = store.claim("one", NOW, 10, KINDS)
    assert (first.name, first.attempts, first.body) == ("projects/p/operations/1", 1, {"a": 1})
    assert store.claim("two", NOW, 10, KINDS) is None
    assert store.renew(first, "one", NOW + timedelta(seconds=5), 10)
    assert store.claim("two", NOW + timedelta(seconds=11), 10, KINDS) is None


def test_a_worker_that_lost_its_lease_changes_nothing(store: SqlStore) -> None:
    with store.write() as tx:
        tx.enqueue(Task("projects/p/operations/1", "deploy", {}))
    first = store.claim("one", NOW, 10, KINDS)
    second = store.claim("two", NOW + timedelta(seconds=11), 10, KINDS)
    assert second.fence > first.fence
    assert not store.renew(first, "one", NOW + timedelta(seconds=12), 10)
    with store.write() as tx:
        assert not tx.finish(first)
        assert tx.finish(second)
        assert tx.find_tasks() == []


def test_a_worker_gets_tasks_of_its_kinds_begun_ones_first_then_by_name(store: SqlStore) -> None:
    with store.write() as tx:
        for name, kind in (("c", "deploy"), ("a", "other"), ("b", "deploy"), ("d", "deploy")):
            tx.enqueue(Task(name, kind, {}))
    begun = store.claim("one", NOW, 10, ("deploy",))
    assert begun.name == "b"
    with store.read() as tx:
        assert [task.name for task in tx.waiting_tasks("deploy")] == ["c", "d"]
        assert tx.find_tasks("other") == ["a"]
        assert tx.holds(begun)
        assert (tx.find_tasks("deploy", "one"), tx.find_tasks("deploy", "two")) == (["b"], [])
    assert store.claim("two", NOW, 10, ("other",)).name == "a"
    assert store.claim("two", NOW, 10, ("other",), ["a"]) is None


def test_what_a_worker_does_not_hold_any_more_is_its_own_at_once_and_others_after_the_lease(store: SqlStore) -> None:
    with store.write() as tx:
        for name in "bcd":
            tx.enqueue(Task(name, "deploy", {}))
    begun = store.claim("one", NOW, 10, KINDS)
    assert store.renew(begun, "one", NOW, 1000)
    again: list[Task] = []
    while (task := store.claim("one", NOW, 10, KINDS, [task.name for task in again])) is not None:
        again.append(task)
    assert [(task.name, task.attempts) for task in again] == [("b", 2), ("c", 1), ("d", 1)]
    with store.read() as tx:
        assert not tx.holds(begun)
        assert tx.holds(again[0])
    assert not store.renew(begun, "one", NOW, 1000)
    assert store.claim("two", NOW, 10, KINDS) is None
    assert store.claim("two", NOW + timedelta(seconds=11), 10, KINDS).name == "b"


def test_a_task_given_back_waits_for_its_delay(store: SqlStore) -> None:
    with store.write() as tx:
        tx.enqueue(Task("projects/p/operations/1", "deploy", {}))
    task = store.claim("one", NOW, 10, KINDS)
    store.release(task, NOW, delay_seconds=3)
    assert not store.renew(task, "one", NOW, 10)
    assert store.claim("two", NOW + timedelta(seconds=2), 10, KINDS) is None
    assert store.claim("one", NOW + timedelta(seconds=2), 10, KINDS, [task.name]) is None
    assert store.claim("two", NOW + timedelta(seconds=4), 10, KINDS).attempts == 2


@pytest.mark.parametrize(
    ("prefix", "found"),
    [
        ("a/", ["a/1", "a/2"]),
        ("a", ["a", "a/1", "a/2", "ab"]),
        ("\U0010ffff", ["\U0010ffff", "\U0010ffffx"]),
        ("\ud7ff".encode("utf-16", "surrogatepass").decode("utf-16"), ["\ud7ff1"]),
        ("%", []),
        ("", ["a", "a/1", "a/2", "ab", "b", "\ud7ff1", "\ue000", "\U0010ffff", "\U0010ffffx"]),
    ],
)
def test_objects_are_listed_by_prefix(store: SqlStore, prefix: str, found: list[str]) -> None:
    with store.write() as tx:
        for name in ("b", "a", "a/1", "ab", "a/2", "\U0010ffff", "\U0010ffffx", "\ud7ff1", "\ue000"):
            tx.put_object(StoredObject("bucket", name, 1, "d", 1, {}))
        tx.put_object(StoredObject("other", "a", 1, "d", 1, {}))
    with store.read() as tx:
        assert [o.name for o in tx.list_objects("bucket", prefix=prefix)] == found


def test_blobs_in_use_are_those_of_objects_of_deployed_versions_and_of_jobs(store: SqlStore) -> None:
    version = record("projects/p/models/m/versions/v", kind="version", parent="projects/p/models/m")
    version.hidden = {"files": [{"path": "model.joblib", "digest": "d2", "size": 1}]}
    with store.write() as tx:
        tx.put_object(StoredObject("bucket", "a", 1, "d1", 1, {}))
        tx.insert(version)
        assert tx.blob_digests() == {"d1", "d2"}
        job = record("projects/p/jobs/j", kind="job", parent="projects/p")
        job.hidden = {"files": [{"digest": "d3"}]}
        tx.insert(job)
        assert tx.blob_digests() == {"d1", "d2", "d3"}
        tx.delete(job.name)
        assert tx.delete_object("bucket", "a")
        assert not tx.delete_object("bucket", "a")
        assert tx.blob_digests() == {"d2"}


def test_fifty_writers_of_one_policy_lose_nothing(store: SqlStore) -> None:
    """Each adds one member to what it reads in its own transaction, all at once."""
    faults: list[BaseException] = []

    def add(n: int) -> None:
        try:
            with store.write() as tx:
                current = tx.policy("projects/p") or Policy()
                members = (*current.members_of("roles/viewer"), f"user:u{n}@example.com")
                tx.set_policy("projects/p", Policy((Binding("roles/viewer", members),)))
        except BaseException as fault:  # noqa: BLE001  # told to the test below
            faults.append(fault)

    threads = [threading.Thread(target=add, args=(n,)) for n in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    with store.read() as tx:
        assert len(tx.policy("projects/p").members_of("roles/viewer")) == 50


def test_a_revision_read_by_another_thread_is_never_old(store: SqlStore) -> None:
    """What the strict freshness of decisions rests on."""
    reading = SqlStore(str(store._engine.url.render_as_string(hide_password=False)).replace("+psycopg", ""))
    try:
        for n in range(20):
            with store.write() as tx:
                tx.set_fact("account", "a@example.com", {"n": n})
            assert reading.revision() == store.revision()
            assert reading.changes(reading.revision() - 1)[1][0].value == {"n": n}
    finally:
        reading.close()


def test_what_processes_count_adds_up(store: SqlStore) -> None:
    def counts(status: int, seconds: float, last: float) -> Counts:
        made = Counts(last=last)
        made.answered(status, seconds, 10, 20)
        return made

    with store.write() as tx:
        for name, uid in (("projects/p/models/m/versions/a", "7"), ("projects/p/models/m/versions/b", "8")):
            tx.insert(record(name, "projects/p/models/m", "version", uid))
        tx.add_usage(100, {"7": counts(200, 0.5, 6000.0), "8": counts(200, 0.5, 6001.0)})
    with store.write() as tx:
        tx.add_usage(100, {"7": counts(400, 0.001, 6002.0)})
        tx.add_usage(101, {"7": counts(200, 0.5, 6060.0), "gone": counts(200, 0.5, 6060.0)})
    with store.read() as tx:
        (minute, first), (_, second) = tx.usage(["7"], 100, 102)
        assert minute == 100
        assert (first.statuses, first.received, first.sent, first.last) == ({200: 1, 400: 1}, 20, 40, 6002.0)
        assert second.statuses == {200: 1}
        assert len(tx.usage(["7", "8"], 100, 101)) == 2
        assert tx.usage(["7"], 102, 200) == []
        totals = tx.usage_totals()
        assert {name: (c.requests, c.last) for name, c in totals.items()} == {
            "projects/p/models/m/versions/a": (3, 6060.0),
            "projects/p/models/m/versions/b": (1, 6001.0),
        }
        assert list(tx.usage_totals(["projects/p/models/m/versions/b"])) == ["projects/p/models/m/versions/b"]
        assert tx.usage_totals([]) == {}
    with store.write() as tx:
        tx.prune_usage(101)
    with store.read() as tx:
        assert [minute for minute, _ in tx.usage(["7", "gone"], 0, 200)] == [101]
        assert tx.usage_totals() == totals
    with store.write() as tx:  # another version of the same name has not been used yet
        tx.delete("projects/p/models/m/versions/a")
        tx.insert(record("projects/p/models/m/versions/a", "projects/p/models/m", "version", "9"))
        assert list(tx.usage_totals()) == ["projects/p/models/m/versions/b"]
        tx.prune_usage(0)
        assert tx.usage(["7"], 0, 200) == []
