"""The contract of the port `Blobs`: the files and their twin in memory pass the same tests."""

from __future__ import annotations

import base64
import hashlib
import multiprocessing
import os
import signal
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mlgate.adapters.blobs.files import FileBlobs
from mlgate.adapters.blobs.memory import MemoryBlobs
from mlgate.core.errors import Aborted, AlreadyExists, InvalidArgument, NotFound
from mlgate.ports import Blob, Blobs

UPLOAD = "upload-0123456789abcdef"
DATA = bytes(range(256)) * 9001  # more than two chunks
SHA = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(params=["files", "memory"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    return FileBlobs(tmp_path / "blobs") if request.param == "files" else MemoryBlobs()


def stored(blobs: Blobs, data: bytes = DATA) -> Blob:
    writer = blobs.writer()
    for at in range(0, len(data), 300_000):
        writer.write(data[at : at + 300_000])
    return writer.commit()


def read(blobs: Blobs, digest: str, start: int = 0, length: int | None = None) -> bytes:
    return b"".join(blobs.open(digest, start, length))


def test_what_is_committed_can_be_read_under_its_sha256_with_all_three_hashes(blobs: Blobs) -> None:
    blob = stored(blobs)
    assert (blob.digest, blob.size, blob.md5) == (SHA, len(DATA), hashlib.md5(DATA).digest())
    assert read(blobs, SHA) == DATA
    assert base64.b64encode(stored(blobs, b"123456789").crc32c) == b"4waSgw=="  # the check value of CRC-32C


@pytest.mark.parametrize(("start", "length"), [(0, 0), (0, 1), (5, None), (5, 2_000_000), (len(DATA) - 3, 99)])
def test_a_part_of_a_blob_can_be_read(blobs: Blobs, start: int, length: int | None) -> None:
    stored(blobs)
    assert read(blobs, SHA, start, length) == DATA[start : None if length is None else start + length]


def test_an_empty_blob_is_a_blob(blobs: Blobs) -> None:
    assert read(blobs, stored(blobs, b"").digest) == b""


@pytest.mark.parametrize("digest", ["0" * 64, "../../etc/passwd", "", "A" * 64, SHA[:63]])
def test_an_unknown_or_ill_formed_digest_is_not_found(blobs: Blobs, digest: str, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        blobs.open(digest)
    with pytest.raises(NotFound):
        blobs.materialize(digest, tmp_path / "x")


def test_nothing_is_visible_before_the_commit_or_after_abandoning(blobs: Blobs) -> None:
    writer = blobs.writer()
    writer.write(DATA)
    with pytest.raises(NotFound):
        blobs.open(SHA)
    writer.abandon()
    writer.abandon()
    with pytest.raises(NotFound):
        blobs.open(SHA)
    with pytest.raises(Aborted):
        writer.write(b"x")
    with pytest.raises(Aborted):
        writer.commit()


def test_abandoning_after_the_commit_changes_nothing(blobs: Blobs) -> None:
    writer = blobs.writer()
    writer.write(DATA)
    writer.commit()
    writer.abandon()
    assert read(blobs, SHA) == DATA


def test_a_materialized_file_has_the_bytes_and_is_read_only(blobs: Blobs, tmp_path: Path) -> None:
    stored(blobs)
    target = tmp_path / "file"
    blobs.materialize(SHA, target)
    assert target.read_bytes() == DATA
    assert stat.S_IMODE(target.stat().st_mode) == 0o444
    with pytest.raises(AlreadyExists):
        blobs.materialize(SHA, target)


def test_sweep_removes_what_is_neither_kept_nor_young(blobs: Blobs) -> None:
    kept, lost = stored(blobs), stored(blobs, b"lost")
    time.sleep(0.02)
    assert blobs.sweep(set(), 60) == 0
    assert blobs.sweep({kept.digest}, 0.001) == 1
    assert read(blobs, kept.digest) == DATA
    with pytest.raises(NotFound):
        blobs.open(lost.digest)


def test_a_reader_that_started_before_the_sweep_gets_everything(blobs: Blobs) -> None:
    stored(blobs)
    chunks = blobs.open(SHA)
    first = next(chunks)
    time.sleep(0.02)
    assert blobs.sweep(set(), 0.001) == 1
    assert first + b"".join(chunks) == DATA


def test_storing_the_same_bytes_again_makes_them_young_again(blobs: Blobs) -> None:
    stored(blobs)
    time.sleep(0.2)
    stored(blobs)
    assert blobs.sweep(set(), 0.15) == 0


# ------------------------------------------------------------------------------------------------ resumable uploads


def test_an_upload_in_parts_becomes_the_blob_of_all_parts(blobs: Blobs) -> None:
    assert blobs.partial_size(UPLOAD) == 0
    assert blobs.partial_append(UPLOAD, DATA[:1000], 0) == 1000
    assert blobs.partial_append(UPLOAD, DATA[1000:], 1000) == len(DATA)
    assert blobs.partial_size(UPLOAD) == len(DATA)
    assert blobs.partial_commit(UPLOAD) == stored(blobs)
    assert read(blobs, SHA) == DATA


def test_a_part_at_the_wrong_place_is_aborted_and_changes_nothing(blobs: Blobs) -> None:
    blobs.partial_append(UPLOAD, b"12345", 0)
    for at in (0, 4, 6):
        with pytest.raises(Aborted):
            blobs.partial_append(UPLOAD, b"x", at)
    assert blobs.partial_size(UPLOAD) == 5


def test_a_commit_can_be_repeated_and_nothing_can_be_appended_after_it(blobs: Blobs) -> None:
    blobs.partial_append(UPLOAD, DATA, 0)
    blob = blobs.partial_commit(UPLOAD)
    assert blobs.partial_commit(UPLOAD) == blob
    assert blobs.partial_size(UPLOAD) == blob.size
    with pytest.raises(Aborted):
        blobs.partial_append(UPLOAD, b"x", blob.size)
    assert read(blobs, SHA) == DATA


def test_an_upload_of_nothing_becomes_the_empty_blob(blobs: Blobs) -> None:
    assert blobs.partial_commit(UPLOAD).size == 0


def test_an_abandoned_upload_leaves_nothing_and_can_be_abandoned_again(blobs: Blobs) -> None:
    blobs.partial_append(UPLOAD, b"12345", 0)
    blobs.partial_abandon(UPLOAD)
    blobs.partial_abandon(UPLOAD)
    assert blobs.partial_size(UPLOAD) == 0


@pytest.mark.parametrize("upload_id", ["", "short", "../../../../etc/passwd", "a/b" * 10, "x" * 16 + ".done", "é" * 20])
def test_an_ill_formed_upload_id_is_refused(blobs: Blobs, upload_id: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: blobs.partial_size(upload_id),
        lambda: blobs.partial_append(upload_id, b"x", 0),
        lambda: blobs.partial_commit(upload_id),
        lambda: blobs.partial_abandon(upload_id),
    ]
    for call in calls:
        with pytest.raises(InvalidArgument):
            call()


def test_appends_of_racing_requests_never_mix(blobs: Blobs) -> None:
    won: list[bytes] = []

    def append(part: bytes) -> None:
        try:
            blobs.partial_append(UPLOAD, part * 5000, 0)
            won.append(part)
        except Aborted:
            pass

    threads = [threading.Thread(target=append, args=(bytes([65 + n]),)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert read(blobs, blobs.partial_commit(UPLOAD).digest) == won[0] * 5000


# ------------------------------------------------------------------------------------------------------- files only


@pytest.fixture
def files(tmp_path: Path) -> FileBlobs:
    return FileBlobs(tmp_path / "blobs")


def files_below(root: Path) -> list[str]:
    return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file() and p.name != "lock")


def test_a_blob_survives_a_restart_and_lies_under_its_digest(files: FileBlobs, tmp_path: Path) -> None:
    stored(files)
    assert files_below(tmp_path / "blobs") == [f"{SHA[:2]}/{SHA[2:]}"]
    assert read(FileBlobs(tmp_path / "blobs"), SHA) == DATA


def test_a_materialized_file_shares_the_bytes_on_disk(files: FileBlobs, tmp_path: Path) -> None:
    stored(files)
    files.materialize(SHA, tmp_path / "linked")
    assert (tmp_path / "linked").stat().st_nlink == 2


def test_a_file_system_without_links_gets_a_copy(
    files: FileBlobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    stored(files)
    monkeypatch.setattr(os, "link", no_links)
    files.materialize(SHA, tmp_path / "copied")
    assert (tmp_path / "copied").read_bytes() == DATA
    assert stat.S_IMODE((tmp_path / "copied").stat().st_mode) == 0o444


def test_sweep_leaves_a_living_writer_alone_and_clears_up_after_a_dead_one(files: FileBlobs, tmp_path: Path) -> None:
    writer = files.writer()
    writer.write(b"alive")
    (tmp_path / "blobs" / "tmp" / "dead").write_bytes(b"dead")
    time.sleep(0.02)
    files.sweep(set(), 0.001)
    assert len(list((tmp_path / "blobs" / "tmp").iterdir())) == 1
    assert read(files, writer.commit().digest) == b"alive"


def test_sweep_keeps_an_upload_for_its_seven_days(files: FileBlobs, tmp_path: Path) -> None:
    files.partial_append(UPLOAD, b"12345", 0)
    path = tmp_path / "blobs" / "partial" / UPLOAD
    os.utime(path, (time.time() - 7 * 86400,) * 2)
    files.sweep(set(), 0.001)
    assert files.partial_size(UPLOAD) == 5
    os.utime(path, (time.time() - 9 * 86400,) * 2)
    files.sweep(set(), 0.001)
    assert files.partial_size(UPLOAD) == 0


@pytest.mark.parametrize("moved", [False, True])
def test_a_commit_that_was_interrupted_is_finished_by_asking_again(
    files: FileBlobs, monkeypatch: pytest.MonkeyPatch, moved: bool
) -> None:
    files.partial_append(UPLOAD, DATA, 0)
    publish = FileBlobs._publish

    def dies(self: FileBlobs, source: Path, blob: Blob) -> None:
        if moved:
            publish(self, source, blob)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(FileBlobs, "_publish", dies)
        with pytest.raises(KeyboardInterrupt):
            files.partial_commit(UPLOAD)
    assert files.partial_size(UPLOAD) == len(DATA)
    assert files.partial_commit(UPLOAD).digest == SHA
    assert read(files, SHA) == DATA


def test_writers_and_sweepers_at_once_never_lose_what_was_committed(files: FileBlobs) -> None:
    """The same bytes again and again, while old copies are swept: each commit must be readable after it."""
    stop = time.monotonic() + 1.0
    lost: list[str] = []

    def write() -> None:
        while time.monotonic() < stop:
            blob = stored(files, b"the same bytes")
            try:
                read(files, blob.digest)
            except NotFound as error:
                lost.append(str(error))
            os.utime(files._path(blob.digest), (0, 0))  # grown old at once

    def sweep() -> None:
        while time.monotonic() < stop:
            files.sweep(set(), 3600)

    threads = [threading.Thread(target=write), *(threading.Thread(target=sweep) for _ in range(3))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lost == []


def _write_for_ever(root: Path, seed: int) -> None:
    blobs = FileBlobs(root)
    n = 0
    while True:
        data = hashlib.sha256(f"{seed} {n}".encode()).digest() * 20_000
        stored(blobs, data)
        upload = f"upload-{seed}-{n}-aaaaaaaaaaaaaaa"
        blobs.partial_append(upload, data[: len(data) // 2], 0)
        blobs.partial_append(upload, data[len(data) // 2 :] + b"x", len(data) // 2)
        blobs.partial_commit(upload)
        n += 1


def test_every_blob_is_whole_after_kill_9(tmp_path: Path) -> None:
    root = tmp_path / "blobs"
    FileBlobs(root)
    context = multiprocessing.get_context("spawn")
    for seed in range(5):
        process = context.Process(target=_write_for_ever, args=(root, seed))
        process.start()
        while not any(root.glob("??/*")) and process.is_alive():
            time.sleep(0.01)
        time.sleep(0.05 + 0.037 * seed)
        assert process.pid
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        for path in root.glob("[0-9a-f][0-9a-f]/*"):
            assert hashlib.sha256(path.read_bytes()).hexdigest() == path.parent.name + path.name
    time.sleep(0.02)
    FileBlobs(root).sweep(set(), 0.001)
    assert not [name for name in files_below(root) if not name.startswith("partial/")]
