"""Where a server's things are: its data directory, its database, its own address."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mlgate.adapters.db.migrate import migrate, newest, version_of
from mlgate.adapters.db.store import SqlStore, sqlite_url
from mlgate.core.errors import FailedPrecondition
from mlgate.settings import Settings


@dataclass(frozen=True)
class Places:
    """Where things are in the data directory."""

    root: Path

    @property
    def blobs(self) -> Path:
        return self.root / "blobs"

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def runtimes(self) -> Path:
        return self.root / "runtimes"

    @property
    def jobs(self) -> Path:
        return self.root / "jobs"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def sessions(self) -> Path:
        return self.root / "sessions"

    @property
    def console(self) -> Path:
        """Holds the console's address while the server runs."""
        return self.root / "console.url"

    @property
    def tables(self) -> Path:
        return self.root / "tables"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def lock(self) -> Path:
        return self.root / "lock"


def places(settings: Settings) -> Places:
    return Places(Path(settings.data_dir).resolve())


def database_url(settings: Settings) -> str:
    return settings.database_url or sqlite_url(places(settings).root)


def open_store(settings: Settings) -> SqlStore:
    """The store of an initialized database. Raises FailedPrecondition that says what to run when it is not."""
    if not settings.database_url and not (places(settings).root / "mlgate.db").exists():
        raise FailedPrecondition(
            f"{settings.data_dir} is not initialized. Run: mlgate admin init --data-dir {settings.data_dir} "
            "--owner user:YOU@EXAMPLE.COM --project PROJECT_ID"
        )
    url = database_url(settings)
    current = version_of(url)
    if current is None:
        raise FailedPrecondition("The database is not initialized: run mlgate admin init first.")
    if current > newest():
        raise FailedPrecondition(f"The database has schema {current}; this mlgate knows {newest()}: use a newer one.")
    if current != newest():
        migrate(url)
    return SqlStore(url, settings.policy_revisions_kept)


def own_url(settings: Settings) -> str:
    """Where this server answers on its own machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"
