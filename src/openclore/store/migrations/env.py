"""Alembic's entry point: it works on the connection of the transaction it is called in."""

from alembic import context

from openclore.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=False
)
context.run_migrations()
