"""The rules of a contract and its instalments."""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal

import pytest

from domain.contract import (
    Contract,
    ContractStatus,
    InstalmentStatus,
    Payee,
    Terms,
    UnknownInstalment,
)
from domain.errors import InvalidTransition
from domain.money import money
from tests.unit.domain_kit import at


@pytest.fixture(autouse=True)
def _now() -> Iterator[None]:
    with at():
        yield


def agreed(*amounts: str, description: str = "Rent") -> Contract:
    """A contract with an instalment on the first of each month."""
    terms = [
        Terms(date(2026, month, 1), money(amount, "SAR"))
        for month, amount in enumerate(amounts or ("10.00", "20.00"), start=1)
    ]
    return Contract.create(
        "C-1",
        description=description,
        currency="SAR",
        client=None,
        payee=Payee("p-1", "Landlord"),
        platform_fee_percent=Decimal("2.5"),
        instalments=terms,
        callback_url=None,
    )


def statuses(contract: Contract) -> list[InstalmentStatus]:
    """The status of each instalment."""
    return [instalment.status for instalment in contract.instalments]


def test_an_instalment_falls_due_once() -> None:
    contract = agreed()
    contract.fall_due(1)
    contract.fall_due(1)
    assert statuses(contract) == [InstalmentStatus.DUE, InstalmentStatus.SCHEDULED]
    assert len(contract.instalments[0].payment_ids) == 1


def test_a_payment_due_says_which_instalment_it_is_for() -> None:
    contract = agreed(description="R" * 128)
    contract.fall_due(2)
    due = contract.collect_events()[-1]
    assert isinstance(due, Contract.PaymentDue)
    assert due.description.endswith("R (2 of 2)")
    assert len(due.description) == 128
    assert (due.amount, due.due_on) == (money("20.00", "SAR"), date(2026, 2, 1))


def test_a_contract_is_completed_when_every_instalment_is_paid() -> None:
    contract = agreed()
    for number in (1, 2):
        contract.fall_due(number)
        assert contract.status is ContractStatus.ACTIVE
        contract.settle(contract.instalments[number - 1].payment_ids[-1])
    assert contract.status is ContractStatus.COMPLETED


def test_an_unpaid_instalment_can_be_asked_for_again_with_another_payment() -> None:
    contract = agreed()
    contract.fall_due(1)
    first = contract.instalments[0].payment_ids[0]
    contract.miss(first, "expired")
    assert statuses(contract)[0] is InstalmentStatus.UNPAID
    contract.ask_again(1)
    contract.ask_again(1)
    assert statuses(contract)[0] is InstalmentStatus.DUE
    assert len(set(contract.instalments[0].payment_ids)) == 2


def test_what_became_of_an_earlier_payment_says_nothing_about_the_later_one() -> None:
    contract = agreed()
    contract.fall_due(1)
    first = contract.instalments[0].payment_ids[0]
    contract.miss(first, "expired")
    contract.ask_again(1)
    contract.miss(first, "expired")
    assert statuses(contract)[0] is InstalmentStatus.DUE


@pytest.mark.parametrize("number", [0, 3, -1])
def test_there_are_no_other_instalments(number: int) -> None:
    with pytest.raises(UnknownInstalment, match="1 to 2"):
        agreed().fall_due(number)


def test_an_instalment_that_is_not_unpaid_cannot_be_asked_for_again() -> None:
    with pytest.raises(InvalidTransition, match=r"this instalment .* scheduled.* unpaid"):
        agreed().ask_again(1)


def test_an_instalment_is_overdue_the_day_after_its_day_until_it_is_paid() -> None:
    contract = agreed()
    contract.fall_due(1)
    [first, _] = contract.instalments
    assert not first.is_overdue(date(2026, 1, 1))
    assert first.is_overdue(date(2026, 1, 2))
    contract.settle(first.payment_ids[0])
    assert not first.is_overdue(date(2026, 1, 2))


def test_an_instalment_is_overdue_though_no_payment_was_started_for_it_yet() -> None:
    [scheduled, _] = agreed().instalments
    assert scheduled.status is InstalmentStatus.SCHEDULED
    assert not scheduled.is_overdue(date(2026, 1, 1))
    assert scheduled.is_overdue(date(2026, 1, 2))


def test_an_instalment_that_was_called_off_is_not_overdue() -> None:
    contract = agreed()
    contract.cancel("moved out")
    assert not any(each.is_overdue(date(2030, 1, 1)) for each in contract.instalments)


def test_a_cancelled_contract_calls_off_what_is_open_and_asks_for_nothing_more() -> None:
    contract = agreed("1.00", "2.00", "3.00")
    for number in (1, 2):
        contract.fall_due(number)
    contract.settle(contract.instalments[0].payment_ids[0])
    contract.cancel("moved out")
    contract.cancel("again")
    contract.fall_due(3)
    cancelled = contract.collect_events()[-1]
    assert isinstance(cancelled, Contract.Cancelled)
    assert cancelled.open_payments == contract.instalments[1].payment_ids
    assert cancelled.scheduled == [3]
    assert statuses(contract) == [
        InstalmentStatus.PAID,
        InstalmentStatus.CANCELLED,
        InstalmentStatus.CANCELLED,
    ]
    assert contract.status is ContractStatus.CANCELLED


def test_money_that_came_in_spite_of_the_cancelling_is_seen() -> None:
    contract = agreed()
    contract.fall_due(1)
    contract.cancel("moved out")
    contract.settle(contract.instalments[0].payment_ids[0])
    assert statuses(contract)[0] is InstalmentStatus.PAID
    assert contract.status is ContractStatus.CANCELLED


def test_a_completed_contract_cannot_be_cancelled() -> None:
    contract = agreed("1.00")
    contract.fall_due(1)
    contract.settle(contract.instalments[0].payment_ids[0])
    with pytest.raises(InvalidTransition, match=r"this contract .* completed"):
        contract.cancel("too late")
