"""Keeps the books in a SQLite file, so that a restarted simulator finds yesterday's payments."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from interface.simulator.transactions import (
    Attempt,
    CardInfo,
    Channel,
    Kind,
    Order,
    Result,
    Transaction,
)

BUSY_TIMEOUT_SECONDS = 5

_SCHEMA = """
CREATE TABLE IF NOT EXISTS transactions (
    tran_ref TEXT PRIMARY KEY, sequence INTEGER NOT NULL, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS attempts (
    id INTEGER PRIMARY KEY, tran_ref TEXT NOT NULL, attempted_at TEXT NOT NULL,
    status INTEGER, error TEXT);
"""
_UPSERT = (
    "INSERT INTO transactions (tran_ref, sequence, body) VALUES (?, ?, ?)"
    " ON CONFLICT (tran_ref) DO UPDATE SET body = excluded.body"
)


class Store:
    """Writes through to ``path``; one connection, one lock. Raises sqlite3.Error."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(
            path, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False
        )
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.executescript(_SCHEMA)

    def save(self, transaction: Transaction) -> None:
        """Write a new or changed transaction."""
        body = json.dumps(asdict(transaction), default=str)
        self._execute(_UPSERT, (transaction.tran_ref, transaction.sequence, body))

    def save_attempt(self, attempt: Attempt) -> None:
        """Write one try to deliver a callback."""
        self._execute(
            "INSERT INTO attempts (tran_ref, attempted_at, status, error) VALUES (?, ?, ?, ?)",
            (attempt.tran_ref, attempt.attempted_at.isoformat(), attempt.status, attempt.error),
        )

    def transactions(self) -> Iterator[Transaction]:
        """All transactions, oldest first."""
        for (body,) in self._rows("SELECT body FROM transactions ORDER BY sequence"):
            yield _transaction(json.loads(body))

    def attempts(self) -> Iterator[Attempt]:
        """All tries to deliver callbacks, oldest first."""
        query = "SELECT tran_ref, attempted_at, status, error FROM attempts ORDER BY id"
        for tran_ref, attempted_at, status, error in self._rows(query):
            yield Attempt(tran_ref, datetime.fromisoformat(attempted_at), status, error)

    def close(self) -> None:
        """Close the file; nothing can be saved afterwards."""
        with self._lock:
            self._connection.close()

    def _execute(self, statement: str, values: tuple[object, ...]) -> None:
        with self._lock:
            self._connection.execute(statement, values)

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._connection.execute(query).fetchall()


def _transaction(body: dict[str, Any]) -> Transaction:
    body["order"] = _order(body["order"])
    body["channel"] = Channel(body["channel"])
    body["created_at"] = datetime.fromisoformat(body["created_at"])
    if body["page_expires_at"]:
        body["page_expires_at"] = datetime.fromisoformat(body["page_expires_at"])
    if body["card"]:
        body["card"] = CardInfo(**body["card"])
    if body["result"]:
        body["result"]["at"] = datetime.fromisoformat(body["result"]["at"])
        body["result"] = Result(**body["result"])
    return Transaction(**body)


def _order(body: dict[str, Any]) -> Order:
    return Order(**body | {"kind": Kind(body["kind"]), "amount": Decimal(body["amount"])})
