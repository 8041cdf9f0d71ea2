"""Outside work in production: done once, taken over when its worker vanishes, never lost."""

import threading
from uuid import UUID

from application.payment_gateway import NotAttempted, Outcome, PageRequest
from domain.gateway_report import GatewayReport
from interface.clock import SystemClock
from system.testing import GatewayDouble
from tests.integration.production_kit import (
    PATIENCE_SECONDS,
    OneAtATime,
    Production,
    kill_connections,
    production,
    running,
    store,
    until,
)


class Slow(OneAtATime):
    """A gateway that answers a page request when it is told to."""

    def __init__(self) -> None:
        super().__init__(SystemClock(), _nobody)
        self.began = threading.Event()
        self.answer = threading.Event()

    def open_page(self, request: PageRequest) -> Outcome:
        """Opens the page, and answers later."""
        outcome = GatewayDouble.open_page(self, request)
        self.began.set()
        self.answer.wait(PATIENCE_SECONDS)
        return outcome


class Open(OneAtATime):
    """A gateway behind an open circuit, for the first few calls."""

    def __init__(self, times: int) -> None:
        super().__init__(SystemClock(), _nobody)
        self.times = times

    def open_page(self, request: PageRequest) -> Outcome:
        """Lets nothing through at first."""
        self.times -= 1
        if self.times >= 0:
            raise NotAttempted("the circuit is open", 1)
        return GatewayDouble.open_page(self, request)


def _nobody(report: GatewayReport) -> None:
    raise AssertionError("nobody pays in these tests")


def outcomes(process: Production) -> list[str]:
    """What was asked of the gateway and what came of it."""
    return [type(event).__name__ for event in process.applications.gateway.all()]


def attempts(process: Production) -> list[int]:
    """The attempts of all work on the agenda."""
    with process.persistence.connection() as connection:
        rows = connection.execute("SELECT attempts FROM agenda WHERE kind = 'gateway_call'")
        return [row["attempts"] for row in rows]


def is_open(process: Production, payment_id: UUID) -> bool:
    """True when the customer has a page."""
    return process.payment(payment_id).next_action is not None


def test_work_that_was_not_attempted_is_tried_later_without_being_counted(
    database_url: str,
) -> None:
    with production(database_url, gateway=Open(times=3)) as process:
        payment_id = process.create_payment("10.00", "SAR", "Tea")
        until(lambda: is_open(process, payment_id), "the page")
        assert outcomes(process) == ["Requested", "Succeeded"]
        assert len(process.gateway.transactions) == 1


def test_a_call_whose_worker_vanished_is_asked_after_and_not_repeated_blindly(
    database_url: str,
) -> None:
    gateway = Slow()
    with store(database_url) as persistence:
        with running(Production(persistence, gateway=gateway, name="w-1")) as first:
            payment_id = first.create_payment("10.00", "SAR", "Tea")
            assert gateway.began.wait(PATIENCE_SECONDS)
            vanish(first)
            with running(Production(persistence, gateway=gateway, name="w-2")) as second:
                until(lambda: "OutcomeUnknown" in outcomes(second), "the outcome to be unknown")
                gateway.answer.set()
                until(lambda: is_open(second, payment_id), "the page")
                operations = [c.operation.value for c in second.saga(payment_id).calls.values()]
        assert operations == ["open_page", "query_cart", "open_page"]


def vanish(process: Production) -> None:
    """A worker that is still busy but has lost its hold on everything."""
    process.runner.stop()
    process.dispatcher._stopping.set()
    process.dispatcher._finished.set()
    process.dispatcher.wake()


def test_a_slow_gateway_does_not_cost_a_worker_its_lease(database_url: str) -> None:
    gateway = Slow()
    with production(database_url, gateway=gateway) as process:
        payment_id = process.create_payment("10.00", "SAR", "Tea")
        assert gateway.began.wait(PATIENCE_SECONDS)
        assert not threading.Event().wait(2.5)
        assert attempts(process) == [1]
        gateway.answer.set()
        until(lambda: is_open(process, payment_id), "the page")
        assert outcomes(process) == ["Requested", "Succeeded"]


def test_stopping_records_the_answer_of_the_call_in_hand(database_url: str) -> None:
    gateway = Slow()
    with production(database_url, gateway=gateway) as process:
        process.create_payment("10.00", "SAR", "Tea")
        assert gateway.began.wait(PATIENCE_SECONDS)
        stopper = threading.Thread(target=process.dispatcher.stop)
        stopper.start()
        gateway.answer.set()
        stopper.join(PATIENCE_SECONDS)
        assert outcomes(process) == ["Requested", "Succeeded"]
        assert attempts(process) == []


def test_a_call_whose_outcome_cannot_be_recorded_is_not_forgotten(database_url: str) -> None:
    gateway = Slow()
    with production(database_url, gateway=gateway) as process:
        payment_id = process.create_payment("10.00", "SAR", "Tea")
        assert gateway.began.wait(PATIENCE_SECONDS)
        kill_connections(database_url)
        gateway.answer.set()
        until(lambda: is_open(process, payment_id), "the page")
        assert len(process.saga(payment_id).cart_ids) <= 2


def test_two_workers_share_the_agenda_and_call_for_each_payment_once(database_url: str) -> None:
    gateway = OneAtATime(SystemClock(), _nobody)
    with store(database_url) as persistence:
        one = Production(persistence, gateway=gateway, name="w-1")
        other = Production(persistence, gateway=gateway, name="w-2")
        with running(one), running(other):
            ids = [one.create_payment("10.00", "SAR", "Tea") for _ in range(40)]
            until(lambda: all(is_open(one, payment_id) for payment_id in ids), "all pages")
        assert len(gateway.transactions) == len({r.cart_id for r in gateway.transactions.values()})
        assert len(gateway.transactions) == 40


def test_a_quiet_agenda_is_hardly_asked(database_url: str) -> None:
    with production(database_url) as process:
        process.run()
        claim, claims = process.agenda.claim, []
        process.agenda.claim = lambda *asked: claims.append(1) or claim(*asked)  # type: ignore
        assert not threading.Event().wait(1.0)
        assert len(claims) <= 3
