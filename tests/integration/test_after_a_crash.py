"""What a process remembers, or has just read, may be gone after a crash of PostgreSQL."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from threading import Event
from typing import Any
from uuid import UUID, uuid4

import pytest
from eventsourcing.persistence import IntegrityError

from application.circuit_breaker import (
    CircuitBreakerConfig,
    CircuitState,
    EventDrivenCircuitBreaker,
)
from domain.keyed_request import KeyedCommand, serving
from domain.payment import Payment
from domain.payment_terms import PaymentStatus
from interface.embedded_postgres import EmbeddedPostgres
from interface.web.context import PageWaiter
from system.agenda_store import PostgresAgendaStore
from system.circuits import Circuits
from system.following import Following
from system.handlers import ConfirmationHandler, GatewayCallHandler, Handler
from system.listener import Listener
from system.parking import list_parked, retry_parked
from system.persistence.log_function import EPOCH_OVER
from system.webhook_matching import WebhookMatchHandler
from system.work_item import WorkItem, WorkKind
from tests.integration.production_kit import Node, Poison, context, node, poisoned_payment, until
from tests.integration.test_epoch import (
    FAR_AHEAD,
    NEVER_ON_ITS_OWN,
    is_on_the_disk,
    lose_the_epoch,
    payment_with_callback,
    put_down_without_waiting,
    written,
)
from tests.postgres_kit import postgres_of_its_own

CONFIG = CircuitBreakerConfig("paytabs")


@pytest.fixture(scope="module")
def replicated_server() -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL that may have standbys, and writes nothing for which nobody waits."""
    options = {**NEVER_ON_ITS_OWN, "wal_level": "replica", "max_wal_senders": "1"}
    with postgres_of_its_own(options) as server:
        yield server


@pytest.fixture
def replicated(replicated_server: EmbeddedPostgres) -> Iterator[Node]:
    """An idle node on it."""
    with node(replicated_server.ensure_database(f"replicated_{uuid4().hex}")) as one:
        yield one


def crash_after(at: Node, read: Callable[..., Any]) -> Callable[..., Any]:
    """Reads; the first time there is a crash then."""
    crashes = [lose_the_epoch]

    def reading(*arguments: Any, **options: Any) -> Any:
        found = read(*arguments, **options)
        while crashes:
            crashes.pop()(at)
        return found

    return reading


def take_back_last_payment(at: Node) -> None:
    """What a crash does that loses the last event of the log of payments, and what followers have
    recorded of it."""
    at.query(
        "DELETE FROM payments_events WHERE notification_id = "
        "(SELECT max(notification_id) FROM payments_events) RETURNING 1"
    )
    at.query(
        "SELECT setval('payments_events_notification_id_seq', max(notification_id)) "
        "FROM payments_events"
    )
    at.query(
        "UPDATE paymentsview_tracking SET notification_id = "
        "(SELECT max(notification_id) FROM payments_events) "
        "WHERE application_name = 'Payments' RETURNING 1"
    )
    lose_the_epoch(at)


def seen(at: Node) -> set[object]:
    """The payments in the view."""
    return {row["payment_id"] for row in at.query("SELECT payment_id FROM view_payments")}


def test_what_stands_where_a_lost_event_stood_is_taken_in_though_nothing_follows_it(
    running: Node,
) -> None:
    """The follower's position in memory is as high as the log, in the store it is lower."""
    running.create_payment()
    lost = running.create_payment()
    until(lambda: lost in seen(running))
    take_back_last_payment(running)
    in_its_place = running.create_payment()
    until(lambda: in_its_place in seen(running), "the follower's second look")


def test_a_parked_event_is_taken_in_after_a_crash_though_nothing_follows_it(
    running: Node,
) -> None:
    poison = Poison(running)
    payment_id = poisoned_payment(running, poison)
    lose_the_epoch(running)
    poison.payments.clear()
    assert retry_parked(running.persistence, list_parked(running.persistence)[0].parked_id)
    until(lambda: not list_parked(running.persistence), "the parked events' turn")
    assert payment_id in seen(running)


def test_a_command_that_finds_nothing_to_do_is_decided_anew_after_a_crash(idle: Node) -> None:
    """It may have found what is gone now."""
    payments, payment_id = idle.applications.payments, idle.create_payment()
    decided: list[int] = []

    def decide(payment: Payment) -> None:
        decided.append(payment.version)
        if len(decided) == 1:
            lose_the_epoch(idle)

    with context():
        payments.change(payment_id, decide)
    assert len(decided) == 2


def test_a_request_whose_first_was_lost_in_a_crash_is_carried_out(
    idle: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    payments, payment_id, request_id = idle.applications.payments, idle.create_payment(), uuid4()

    def cancel() -> KeyedCommand:
        command = KeyedCommand(request_id, lambda: "digest")
        with context(), serving(command):
            payments.cancel(payment_id, "no longer wanted")
        return command

    cancel()
    read = payments.get

    def read_what_is_lost_then(aggregate_id: UUID, version: int | None = None) -> Any:
        monkeypatch.undo()
        found = read(aggregate_id, version)
        idle.query("DELETE FROM payments_events WHERE notification_id > 1 RETURNING 1")
        lose_the_epoch(idle)
        return found

    monkeypatch.setattr(payments, "get", read_what_is_lost_then)
    assert not cancel().is_replay
    assert payments.get(payment_id).status is PaymentStatus.CANCELLED


def claimed(at: Node, kind: WorkKind) -> WorkItem:
    """The one piece of work of a kind, claimed."""
    applications = at.applications
    for follower, leader in (
        (applications.sagas, applications.payments),
        (applications.confirmations, applications.payments),
        (applications.agenda, applications.sagas),
        (applications.agenda, applications.confirmations),
    ):
        Following(follower, leader).advance()
    store = PostgresAgendaStore(at.persistence)
    [item] = store.claim(FAR_AHEAD, {kind: 1}, "me", timedelta(seconds=1))
    return item


def test_work_is_not_taken_off_the_agenda_because_of_what_a_crash_took_back(
    idle: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever awaits the work again after the crash would wait for ever."""
    applications: Any = idle.applications
    idle.cancel_payment(payment_with_callback(idle))
    no_way_out: Any = None
    calls = GatewayCallHandler(applications, no_way_out, "https://pay.example.com", None)
    messages = ConfirmationHandler(applications, no_way_out, no_way_out)
    work: list[tuple[Handler, Any, WorkKind]] = [
        (calls, applications.sagas, WorkKind.GATEWAY_CALL),
        (messages, applications.confirmations, WorkKind.CONFIRMATION),
    ]
    for handler, log, kind in work:
        not_awaited = replace(claimed(idle, kind), work_id=uuid4())
        monkeypatch.setattr(log, "get", crash_after(idle, log.get))
        with pytest.raises(IntegrityError, match=EPOCH_OVER):
            handler(not_awaited)
        handler(not_awaited)


def test_a_webhook_is_not_given_up_because_of_what_a_crash_took_back(idle: Node) -> None:
    finder: Any = None
    log: Any = idle.applications.webhooks
    found = type("Matched", (), {"is_unmatched": False, "report": None, "created_on": FAR_AHEAD})
    log.get = crash_after(idle, lambda _id: found)
    item = WorkItem(
        uuid4(), WorkKind.WEBHOOK_MATCH, uuid4(), uuid4(), None, FAR_AHEAD, 1, "test", None
    )
    handler = WebhookMatchHandler(idle.applications, finder)
    with pytest.raises(IntegrityError, match=EPOCH_OVER):
        handler(item)
    handler(item)


def test_a_breaker_hears_of_what_stands_where_a_lost_event_stood(idle: Node) -> None:
    operations = idle.applications.operations
    breaker = EventDrivenCircuitBreaker(CONFIG)
    circuits = Circuits(operations, Listener(idle.persistence.conninfo), "one")
    circuits.add(breaker)
    with context():
        operations.force_open("paytabs", "admin", CONFIG)
        operations.reset("paytabs", "admin", CONFIG)
    circuits.turn()
    assert breaker.state is CircuitState.CLOSED
    idle.query("DELETE FROM operations_events WHERE notification_id > 1 RETURNING 1")
    idle.query("SELECT setval('operations_events_notification_id_seq', 1)")
    lose_the_epoch(idle)
    idle.persistence.forget_epoch()
    with context():
        operations.force_open("paytabs", "admin", CONFIG)
    circuits.turn()
    assert breaker.state is CircuitState.OPEN


def test_circuits_that_have_nothing_to_show_write_nothing(idle: Node) -> None:
    circuits = Circuits(idle.applications.operations, Listener(idle.persistence.conninfo), "one")
    circuits.turn()
    before = written(idle)
    circuits.turn()
    assert written(idle) == before


def test_a_client_gets_the_hosted_page_when_it_is_on_the_disk(replicated: Node) -> None:
    """A page that a crash made us forget would be opened anew."""
    payments, payment_id = replicated.applications.payments, replicated.create_payment()
    waiter = PageWaiter(replicated.applications, Listener(replicated.persistence.conninfo))
    before = payments.get(payment_id)
    with context():
        payments.change(payment_id, lambda p: p.process("TST1", "paytabs", None, FAR_AHEAD))
    said = put_down_without_waiting(replicated)
    with waiter.watch(payment_id) as wait:
        after = wait(before, 1.0)
    assert after.status is PaymentStatus.PROCESSING
    assert is_on_the_disk(replicated, said)


def create(at: Node, _payment_id: UUID) -> None:
    at.create_payment()


def show(at: Node, payment_id: UUID) -> None:
    """Reads it for somebody who waits for its hosted page."""
    at.applications.payments.get_kept(payment_id)


@pytest.mark.parametrize("answer", [create, show])
def test_what_a_client_is_answered_waits_for_a_synchronous_standby_too(
    replicated: Node, answer: Callable[[Node, UUID], None]
) -> None:
    """Otherwise a standby that takes over would not know it."""
    payment_id = replicated.create_payment()

    def want_standby(name: str) -> None:
        with replicated.persistence.connection() as connection:
            connection.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{name}'".encode())
            connection.execute("SELECT pg_reload_conf()")

    def is_waited_for() -> bool:
        waiting = "SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
        return bool(replicated.query(waiting))

    want_standby("nobody")
    with ThreadPoolExecutor(1) as pool:
        is_over = Event()

        def keep_answering() -> None:
            while not is_over.is_set():
                answer(replicated, payment_id)

        answering = pool.submit(keep_answering)
        try:
            until(is_waited_for, "the wait for a standby")
        finally:
            is_over.set()
            want_standby("")
        answering.result()
