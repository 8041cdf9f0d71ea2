"""Erases a person: throws the keys away, and cleans the views that hold what they sealed.

Events and journal are not touched: what is sealed in them can never be opened again.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

import psycopg
from psycopg.rows import dict_row
from psycopg.sql import SQL, Identifier

from application.vault import ERASED, email_subject, payment_subject
from domain.payment import Payment
from system.applications import Applications
from system.catching_up import catches_up
from system.persistence.postgres import PostgresPersistence
from system.persistence.shadow_tables import NEW
from system.persistence.tables import PAYMENTS_VIEW
from system.rebuild import REBUILD_SPACE

CATCH_UP_SECONDS_MAX = 30.0
"""How long the view may take to take in what was sealed before the key was thrown away."""
LOCK_TIMEOUT_MS = 10_000

CLEAN = SQL(
    "UPDATE {} SET client_info = to_jsonb(%s::text) "
    "WHERE client_id = ANY(%s) AND client_info <> to_jsonb(%s::text)"
)


class ErasureRefused(Exception):
    """Nobody is known by that name, or a view could not be cleaned; the text says what to do."""


@dataclass(frozen=True)
class Erasure:
    """What was erased: how many keys, and whose payments."""

    keys: int
    payments: tuple[UUID, ...]


def erase(persistence: PostgresPersistence, applications: Applications, name: str) -> Erasure:
    """Erases the client of a payment (its id), or the client with an e-mail address or a client id.
    Doing it again cleans the views again.

    Raises:
        ErasureRefused: nobody is known by that name; or the key is gone, but a view is not clean.
    """
    vault, clients = applications.vault, _clients(applications, name)
    named = (*_payments_of(persistence, clients), *_ids(name))
    subjects = {payment_subject(each) for each in (*named, *_webhooks_of(persistence, named))}
    clients |= {client for client in map(vault.client_of, subjects) if client is not None}
    keys = vault.erase(clients)
    _wait_for_view(applications, clients)
    _clean(persistence, clients)
    payments = _payments_of(persistence, clients)
    if not keys and not payments:
        raise ErasureRefused(f"nobody is known as '{name}': give a payment's id or an e-mail")
    return Erasure(keys, tuple(payments))


def _ids(name: str) -> list[UUID]:
    try:
        return [UUID(name)]
    except ValueError:
        return []


def _clients(applications: Applications, name: str) -> set[UUID]:
    """The ids of the clients that a payment's id, a client's id or an e-mail address stands for."""
    vault = applications.vault
    found = {vault.client_of(email_subject(name))} if "@" in name else set()
    for each in _ids(name):
        history = applications.payments.history(each)
        initiated = history[0] if history else None
        if isinstance(initiated, Payment.Initiated) and initiated.client:
            found.add(UUID(initiated.client.client_id))
        elif not history:
            found.add(each)
    return {client for client in found if client is not None}


def _payments_of(persistence: PostgresPersistence, clients: Collection[UUID]) -> list[UUID]:
    with persistence.connection() as connection:
        rows = connection.execute(
            "SELECT payment_id FROM view_payments WHERE client_id = ANY(%s) ORDER BY 1",
            (list(clients),),
        ).fetchall()
    return [row["payment_id"] for row in rows]


def _webhooks_of(persistence: PostgresPersistence, payments: Sequence[UUID]) -> list[UUID]:
    """A notification that came before its payment is sealed under its own id."""
    with persistence.connection() as connection:
        rows = connection.execute(
            "SELECT webhook_id FROM view_webhooks WHERE payment_id = ANY(%s)", (list(payments),)
        ).fetchall()
    return [row["webhook_id"] for row in rows]


def _wait_for_view(applications: Applications, clients: Collection[UUID]) -> None:
    """Whatever the view's follower opened before the key was gone is written now."""
    log, view = applications.payments, applications.payments_view
    if not catches_up(view, [log], CATCH_UP_SECONDS_MAX):
        names = ", ".join(map(str, clients))
        raise ErasureRefused(
            "the key is erased, but PaymentsView is behind and may show what it sealed: see "
            f"that a worker runs, and give the command again with {names}"
        )


def _clean(persistence: PostgresPersistence, clients: Collection[UUID]) -> None:
    """Cleans the live table, and the new one that an interrupted rebuild has left. A rebuild that
    runs is waited for."""
    try:
        with psycopg.connect(
            persistence.conninfo, autocommit=True, row_factory=dict_row
        ) as connection:
            connection.execute(SQL("SET lock_timeout = {}").format(SQL(str(LOCK_TIMEOUT_MS))))
            connection.execute(
                "SELECT pg_advisory_lock(%s, hashtext('PaymentsView'))", (REBUILD_SPACE,)
            )
            for table in (PAYMENTS_VIEW.name + NEW, PAYMENTS_VIEW.name):
                found = connection.execute("SELECT to_regclass(%s) AS t", (table,)).fetchone()
                if found and found["t"]:
                    statement = CLEAN.format(Identifier(table))
                    connection.execute(statement, (ERASED, list(clients), ERASED))
    except psycopg.errors.LockNotAvailable:
        names = ", ".join(map(str, clients))
        raise ErasureRefused(
            "the key is erased, but PaymentsView is being rebuilt and may show what it sealed: "
            f"give the command again afterwards with {names}"
        ) from None
