"""What a project's service agent may read: model files and packages in buckets are read with its rights (R-090)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mlgate.core.errors import FailedPrecondition, NotFound, PermissionDenied
from mlgate.core.names import bucket_name, join, parse_gs_uri
from mlgate.ports import Store
from mlgate.snapshot import Snapshot


@dataclass(frozen=True)
class ServiceAgents:
    store: Store
    snapshot: Snapshot

    def check(self, project_id: str, bucket: str) -> list[str]:
        """Whether the agent may read the bucket; the message names account, permission and bucket (C-22). What it lacks
        without harm is returned, as warnings."""
        self.snapshot.refresh()
        project = self.snapshot.projects.get(project_id)
        if project is None:
            raise NotFound(f"Project {project_id} does not exist any more.")
        agent, resource = f"serviceAccount:{project.agent}", bucket_name(bucket)
        for permission in ("storage.objects.list", "storage.objects.get"):
            if not self.snapshot.decide(agent, permission, resource):
                raise PermissionDenied(
                    f"The service account {project.agent} lacks {permission} on bucket {bucket}: grant it "
                    f"roles/storage.objectViewer there."
                )
        home = self.snapshot.buckets.get(bucket, project_id)
        if not self.snapshot.decide(agent, "storage.buckets.list", join("", "projects", home)):
            return [f"The service account {project.agent} lacks storage.buckets.list on project {home}."]
        return []

    def packages(self, project_id: str, uris: Sequence[str], most_bytes: int) -> list[dict[str, Any]]:
        """The archives of a user's own code as path, digest and size, numbered in their order. Raises NotFound,
        PermissionDenied, FailedPrecondition."""
        packages: list[dict[str, Any]] = []
        checked: set[str] = set()
        for number, uri in enumerate(uris):
            bucket, path = parse_gs_uri(uri, "packageUris")
            if bucket not in checked:
                self.check(project_id, bucket)
                checked.add(bucket)
            with self.store.read() as tx:
                stored = tx.get_object(bucket, path)
            if stored is None:
                raise NotFound(f"The package {uri} of packageUris does not exist.")
            name = f"{number:03d}-{path.rpartition('/')[2]}"
            packages.append({"path": name, "digest": stored.digest, "size": stored.size})
        if sum(package["size"] for package in packages) > most_bytes:
            raise FailedPrecondition(f"packageUris holds more than the {most_bytes} bytes that are allowed.")
        return packages
