"""Erases a person: throws the keys away, and cleans the views that hold what they sealed.

Events and journal are not touched: what is sealed in them can never be opened again. What is still
to be learned of the person through the same payments, and through those of their contracts, is not
kept: payments that name a client have that client's key, which is gone, and the others are closed.
"""

from collections.abc import Collection, Set
from dataclasses import dataclass
from uuid import UUID

import psycopg
from psycopg.rows import dict_row
from psycopg.sql import SQL, Identifier

from application.vault import ERASED, email_subject, payment_subject
from domain.contract import Contract
from domain.payment import Payment
from domain.webhook import Webhook
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


@dataclass(frozen=True)
class Named:
    """Whom a name stands for: ids of clients, and of what is theirs, payments and perhaps a
    contract or a notification."""

    clients: Set[UUID] = frozenset()
    own: Set[UUID] = frozenset()

    def __or__(self, other: "Named") -> "Named":
        return Named(self.clients | other.clients, self.own | other.own)


def erase(persistence: PostgresPersistence, applications: Applications, name: str) -> Erasure:
    """Erases the client of a payment (its id) or of a contract (its `contractId`), or the client
    with an e-mail address or a client id. Doing it again cleans the views again.

    Raises:
        ErasureRefused: nobody is known by that name; or the key is gone, but a view is not clean.
    """
    vault, named = applications.vault, _named(applications, name)
    own = {*named.own, *_payments_of(persistence, named.clients)}
    known_by = {payment_subject(each) for each in (*own, *_webhooks_of(persistence, own))}
    clients = named.clients | {key for key in map(vault.client_of, known_by) if key is not None}
    keys = vault.erase(clients, {payment_subject(each) for each in own})
    if clients:
        _wait_for_view(applications, clients)
        _clean(persistence, clients)
    payments = _payments_of(persistence, clients)
    if not keys and not payments and not own:
        raise ErasureRefused(
            f"nobody is known as '{name}': give a payment's id, a contractId or an e-mail address"
        )
    return Erasure(keys, tuple(payments))


def _named(applications: Applications, name: str) -> Named:
    """Whom the id of a payment or a contract, a client's id or an e-mail address stands for."""
    client = applications.vault.client_of(email_subject(name)) if "@" in name else None
    found = Named({client} if client else set()) | _contract(applications, Contract.create_id(name))
    for each in _ids(name):
        known = _payment(applications, each) | _contract(applications, each)
        history = applications.webhooks.history(each)
        if any(isinstance(event, Webhook.Received) for event in history):
            known |= Named(own={each})
        found |= known if known.own else Named({each})
    return found


def _ids(name: str) -> list[UUID]:
    try:
        return [UUID(name)]
    except ValueError:
        return []


def _payment(applications: Applications, payment_id: UUID) -> Named:
    payment = applications.payments.get_many([payment_id]).get(payment_id)
    if not isinstance(payment, Payment):
        return Named()
    return Named(_client_of(payment), {payment_id})


def _contract(applications: Applications, aggregate_id: UUID) -> Named:
    """A contract with the payments of its instalments so far."""
    contract = applications.contracts.get_many([aggregate_id]).get(aggregate_id)
    if not isinstance(contract, Contract):
        return Named()
    payments = {each for instalment in contract.instalments for each in instalment.payment_ids}
    return Named(_client_of(contract), {aggregate_id, *payments})


def _client_of(agreed: Payment | Contract) -> set[UUID]:
    return {UUID(agreed.client.client_id)} if agreed.client else set()


def _payments_of(persistence: PostgresPersistence, clients: Collection[UUID]) -> list[UUID]:
    with persistence.connection() as connection:
        rows = connection.execute(
            "SELECT payment_id FROM view_payments WHERE client_id = ANY(%s) ORDER BY 1",
            (list(clients),),
        ).fetchall()
    return [row["payment_id"] for row in rows]


def _webhooks_of(persistence: PostgresPersistence, payments: Collection[UUID]) -> list[UUID]:
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
