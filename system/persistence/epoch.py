"""Tells whether what a process remembers is still true: in a crash PostgreSQL loses the last
commits that did not wait for the disk (design 4)."""

from uuid import UUID

from psycopg import Connection
from psycopg.rows import DictRow

CREATE_EPOCH = (
    "CREATE UNLOGGED TABLE IF NOT EXISTS epoch (is_only boolean PRIMARY KEY DEFAULT true "
    "CHECK (is_only), id uuid NOT NULL DEFAULT gen_random_uuid())"
)
"""PostgreSQL empties an unlogged table when it recovers from a crash, and when a standby takes
over: then whoever comes first begins a new epoch."""


class Epoch:
    """The epoch as one process knows it.

    It takes the epoch first, then reads events, and hands it over with what it appends. If the
    database is in another one by then, the append is refused: between the two there was a crash,
    and what was read may be gone. Safe to share between threads.
    """

    def __init__(self) -> None:
        self.known: UUID | None = None
        """None when it is to be read."""

    def read(self, connection: Connection[DictRow]) -> UUID:
        """Reads the database's epoch, beginning one if there is none."""
        row = connection.execute("SELECT id FROM epoch").fetchone()
        if row is None:
            connection.execute("INSERT INTO epoch DEFAULT VALUES ON CONFLICT DO NOTHING")
            return self.read(connection)
        epoch: UUID = row["id"]
        self.known = epoch
        return epoch
