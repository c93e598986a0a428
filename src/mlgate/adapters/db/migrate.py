"""Bringing a database to the current schema. The versions are in `migrations/versions`, oldest first, never edited."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from mlgate.adapters.db.store import engine_for


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def migrate(url: str) -> None:
    """Create or upgrade the database, in one transaction; does nothing to a current one."""
    engine = engine_for(url, pool_size=1)
    try:
        with engine.connect().execution_options(writes=True) as connection, connection.begin():
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    finally:
        engine.dispose()


def version_of(url: str) -> tuple[str | None, str | None]:
    """The database's schema version (None for an empty one) and the one that this program needs."""
    engine = engine_for(url, pool_size=1)
    try:
        with engine.connect() as connection:
            current = MigrationContext.configure(connection).get_current_revision()
        return current, ScriptDirectory.from_config(_config()).get_current_head()
    finally:
        engine.dispose()
