"""How Alembic runs here: on the connection that `migrate` hands over."""

from alembic import context

from mlgate.adapters.db.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
context.run_migrations()
