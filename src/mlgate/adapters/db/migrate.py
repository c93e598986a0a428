"""Bringing a database to the current schema. The versions are in `migrations/versions`, oldest first, never edited.

Alembic is imported only to migrate: a database that is current, which is every start but the first, is recognized by
one query.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from mlgate.adapters.db.store import engine_for

_MIGRATIONS = Path(__file__).parent / "migrations"


def newest() -> str:
    """The schema version that this program needs: the number of the newest migration."""
    return max(path.name for path in (_MIGRATIONS / "versions").glob("[0-9]*.py")).partition("_")[0]


def migrate(url: str, to: str = "head") -> None:
    """Create or upgrade the database, in one transaction; does nothing to a current one."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    engine = engine_for(url, pool_size=1)
    try:
        with engine.connect().execution_options(writes=True) as connection, connection.begin():
            config.attributes["connection"] = connection
            command.upgrade(config, to)
    finally:
        engine.dispose()


def version_of(url: str) -> str | None:
    """The database's schema version; None for an empty one."""
    engine = engine_for(url, pool_size=1)
    try:
        with engine.connect() as connection:
            if not sa.inspect(connection).has_table("alembic_version"):
                return None
            return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
    finally:
        engine.dispose()
