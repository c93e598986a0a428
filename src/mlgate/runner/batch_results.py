"""What a batch prediction writes: the blobs of its shards become objects, all in the transaction that ends it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mlgate.core import batch
from mlgate.core.errors import FailedPrecondition, NotFound, PermissionDenied
from mlgate.core.names import bucket_name, parse_gs_uri
from mlgate.ports import Blob, Transaction
from mlgate.runner.training import Parts
from mlgate.stored_objects import bucket_of, store_object

Json = dict[str, Any]


@dataclass(frozen=True)
class Results:
    parts: Parts
    project_id: str
    #: The job's predictionInput.
    given: Json

    def check(self, names: tuple[str, ...] = ()) -> None:
        """Whether the agent may write the output. Raises PermissionDenied, NotFound."""
        bucket, _ = parse_gs_uri(self.given["outputPath"], "outputPath")
        self.parts.snapshot.refresh()
        project = self.parts.snapshot.projects.get(self.project_id)
        agent = project.agent if project else ""
        with self.parts.store.read() as tx:
            if tx.get(bucket_name(bucket)) is None:
                raise NotFound(f"Bucket {bucket} of outputPath does not exist.")
            replaces = any(tx.get_object(bucket, name) is not None for name in names)
        needed = ["storage.objects.create", *(["storage.objects.delete"] if replaces else [])]
        for permission in needed:
            if not self.parts.snapshot.decide(f"serviceAccount:{agent}", permission, bucket_name(bucket)):
                why = " to replace what is there" if permission.endswith("delete") else ""
                raise PermissionDenied(
                    f"The service account {agent} lacks {permission} on bucket {bucket}{why}: grant it "
                    f"roles/storage.object{'Admin' if replaces else 'Creator'} there."
                )

    def files(self, done: Sequence[Json]) -> list[tuple[str, Json]]:
        """Names and blobs of what the shards, in their order, hold. There is a file of errors for each shard that has
        some, and one, empty, where none has. Raises FailedPrecondition."""
        _, path = parse_gs_uri(self.given["outputPath"], "outputPath")
        folder = path.rstrip("/") + "/" if path.strip("/") else ""
        files = [(batch.result_name("results", n, len(done)), each["results"]) for n, each in enumerate(done)]
        wrong = [each["errors"] for each in done if each["errors"]["lines"]] or [done[0]["errors"]]
        files += [(batch.result_name("errors_stats", n, len(wrong)), each) for n, each in enumerate(wrong)]
        columns = {each["keys"] for each in done if each["results"]["lines"]}
        if len(columns) > 1:
            raise FailedPrecondition(
                f"CSV has the same columns in every row; the model gave {len(columns)} sets of them."
            )
        if columns - {""}:
            writer = self.parts.blobs.writer()
            writer.write(columns.pop().encode())
            files.append(("prediction.keys", told(writer.commit())))
        return [(folder + name, each) for name, each in files]

    def store(self, tx: Transaction, files: Sequence[tuple[str, Json]], now: datetime) -> None:
        """Under their final names, in the place of what has them."""
        bucket_id, _ = parse_gs_uri(self.given["outputPath"], "outputPath")
        bucket = bucket_of(tx, bucket_id)
        for name, each in files:
            kind = "text/csv" if batch.output_format(self.given) == "CSV" and ".results" in name else "text/plain"
            old = tx.get_object(bucket_id, name)
            store_object(tx, bucket, name, _blob(each), {"contentType": kind}, now, old)


def told(blob: Blob) -> Json:
    """A blob as a record holds it."""
    return {"digest": blob.digest, "size": blob.size, "md5": blob.md5.hex(), "crc32c": blob.crc32c.hex()}


def _blob(given: Json) -> Blob:
    return Blob(given["digest"], given["size"], bytes.fromhex(given["md5"]), bytes.fromhex(given["crc32c"]))
