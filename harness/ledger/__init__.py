"""The event store: tables, appends, verification, and the blobs beside it. The only room that knows a database."""
