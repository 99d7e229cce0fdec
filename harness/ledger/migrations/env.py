"""What alembic runs for every migration: on the connection, and in the transaction, of whoever asks for it."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
