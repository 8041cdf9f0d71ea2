"""Workers are killed between a payment's event and the first attempt: the merchant hears of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest

from tests.e2e.fleet import Fleet, Process, at_once, fleet_on
from tests.e2e.house import until


@pytest.fixture(scope="module")
def fleet(postgres_server: Any) -> Iterator[Fleet]:
    name = f"killed_{uuid4().hex}"
    with fleet_on(postgres_server.ensure_database(name)) as fleet:
        fleet.web()
        yield fleet
    postgres_server.drop_database(name)


@pytest.fixture(autouse=True)
def _well_behaved(fleet: Fleet) -> Iterator[None]:
    fleet.merchant.gate.set()
    yield
    fleet.merchant.gate.set()
    fleet.stop_all_but_the_first()


def cancelled(fleet: Fleet) -> str:
    """A payment whose event has just been recorded, of which nobody has told the merchant."""
    answer = fleet.api.create({"Prefer": "respond-async"}, callbackUrl=fleet.merchant.url)
    payment_id = str(answer.json()["paymentId"])
    assert fleet.api.cancel(payment_id).status_code == 200
    return payment_id


def is_on_the_agenda(fleet: Fleet, payment_id: str, *, claimed: bool) -> bool:
    query = (
        "SELECT 1 FROM agenda WHERE kind = 'confirmation' AND payment_id = %s"
        " AND (claimed_until IS NOT NULL) >= %s"
    )
    return bool(fleet.rows(query, payment_id, claimed))


def after_the_event(fleet: Fleet, worker: Process) -> str:
    payment_id = cancelled(fleet)
    worker.kill()
    return payment_id


def after_it_was_asked_for(fleet: Fleet, worker: Process) -> str:
    before = fleet.count("confirmations")
    payment_id = cancelled(fleet)
    at_once(lambda: fleet.count("confirmations") > before)
    worker.kill()
    return payment_id


def when_it_is_on_the_agenda(fleet: Fleet, worker: Process) -> str:
    fleet.merchant.gate.clear()
    payment_id = cancelled(fleet)
    at_once(lambda: is_on_the_agenda(fleet, payment_id, claimed=False))
    worker.kill()
    return payment_id


def when_it_is_claimed(fleet: Fleet, worker: Process) -> str:
    fleet.merchant.gate.clear()
    payment_id = cancelled(fleet)
    at_once(lambda: is_on_the_agenda(fleet, payment_id, claimed=True))
    worker.kill()
    return payment_id


def when_the_merchant_has_it_but_we_have_no_answer(fleet: Fleet, worker: Process) -> str:
    fleet.merchant.gate.clear()
    payment_id = cancelled(fleet)
    at_once(lambda: fleet.merchant.ids(payment_id))
    worker.kill()
    return payment_id


MOMENTS: dict[str, Callable[[Fleet, Process], str]] = {
    moment.__name__: moment
    for moment in (
        after_the_event,
        after_it_was_asked_for,
        when_it_is_on_the_agenda,
        when_it_is_claimed,
        when_the_merchant_has_it_but_we_have_no_answer,
    )
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_worker_killed_before_the_first_attempt_is_done_loses_no_confirmation(
    fleet: Fleet, moment: str
) -> None:
    payment_id = MOMENTS[moment](fleet, fleet.worker())
    fleet.merchant.gate.set()
    fleet.worker()
    path = "/v1/confirmations"
    [told] = until(lambda: fleet.api.data(path, paymentId=payment_id, status="delivered"))
    ids = fleet.merchant.ids(payment_id)
    assert set(ids) == {told["eventId"]}
    assert len(ids) <= 2
    assert not is_on_the_agenda(fleet, payment_id, claimed=False)
