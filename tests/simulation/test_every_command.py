"""Every command in every status: done, refused with what is and what is allowed, or no change."""

from collections.abc import Callable, Iterator
from functools import partial
from uuid import UUID

import pytest

from domain.errors import InvalidTransition
from domain.payment_terms import PaymentStatus
from system.testing import SystemUnderTest
from tests.simulation import money_kit
from tests.simulation.money_kit import DAY, assert_ended, sar

Begin = Callable[[SystemUnderTest], UUID]
Command = Callable[[SystemUnderTest, UUID], object]


@pytest.fixture
def s() -> Iterator[SystemUnderTest]:
    with SystemUnderTest(seed=11) as system:
        yield system


opened = partial(money_kit.opened, callback_url=None)
paid = partial(money_kit.paid, callback_url=None)


def initiated(s: SystemUnderTest) -> UUID:
    return s.create_payment("10.00", "SAR", "Tea")


def authorized(s: SystemUnderTest) -> UUID:
    return paid(s, "manual")


def captured(s: SystemUnderTest) -> UUID:
    return then(authorized, SystemUnderTest.capture_payment)(s)


def then(begin: Begin, command: Command) -> Begin:
    def go_on(s: SystemUnderTest) -> UUID:
        payment_id = begin(s)
        command(s, payment_id)
        s.run()
        return payment_id

    return go_on


def decline(s: SystemUnderTest, payment_id: UUID) -> None:
    s.gateway.decline(payment_id)


cancel: Command = SystemUnderTest.cancel_payment
capture: Command = SystemUnderTest.capture_payment
refund: Command = SystemUnderTest.refund_payment
COMMANDS = {"cancel": cancel, "capture": capture, "refund": refund}
ALLOWED: dict[str, list[str]] = {
    "cancel": ["authorized", "initiated", "processing"],
    "capture": ["authorized"],
    "refund": ["completed"],
}
IN: dict[PaymentStatus, Begin] = {
    PaymentStatus.INITIATED: initiated,
    PaymentStatus.PROCESSING: opened,
    PaymentStatus.AUTHORIZED: authorized,
    PaymentStatus.COMPLETED: paid,
    PaymentStatus.REFUNDED: then(paid, refund),
    PaymentStatus.FAILED: then(opened, decline),
    PaymentStatus.CANCELLED: then(opened, cancel),
}
DONE_ALREADY = {(PaymentStatus.CANCELLED, "cancel")}


@pytest.mark.parametrize("status", PaymentStatus)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_done_or_refused_with_what_is_and_what_is_allowed(
    s: SystemUnderTest, name: str, status: PaymentStatus
) -> None:
    payment_id = IN[status](s)
    assert s.payment(payment_id).status is status
    version = s.payment(payment_id).version

    if (status, name) in DONE_ALREADY:
        COMMANDS[name](s, payment_id)
        assert s.payment(payment_id).version == version
    elif status in ALLOWED[name]:
        COMMANDS[name](s, payment_id)
        assert s.payment(payment_id).version > version
    else:
        with pytest.raises(InvalidTransition) as refusal:
            COMMANDS[name](s, payment_id)
        assert refusal.value.current_status == status
        assert refusal.value.allowed_statuses == ALLOWED[name]
        assert s.payment(payment_id).version == version


@pytest.mark.parametrize("begin", [initiated, opened, authorized])
def test_a_cancel_is_repeated_without_harm_at_any_later_time(
    s: SystemUnderTest, begin: Begin
) -> None:
    payment_id = begin(s)

    for moment in (lambda: None, s.run, lambda: s.wait(8 * DAY)):
        s.cancel_payment(payment_id)
        moment()
    s.cancel_payment(payment_id)
    s.run()

    assert_ended(s, payment_id, "cancelled", "0")
    kinds = [report.kind for report in s.gateway.of(payment_id)]
    assert kinds.count("void") == (begin is authorized)


def test_a_capture_is_repeated_without_harm_at_any_later_time(s: SystemUnderTest) -> None:
    payment_id = authorized(s)
    capture = partial(s.capture_payment, payment_id, sar("6.00"))

    capture()
    capture()
    s.run()
    capture()
    s.refund_payment(payment_id, sar("2.00"))
    s.run()
    capture()
    s.refund_payment(payment_id, sar("4.00"))
    s.run()
    capture()
    s.run()

    assert_ended(s, payment_id, "refunded", "0")
    kinds = [report.kind.value for report in s.gateway.of(payment_id)]
    assert kinds == ["authorization", "capture", "release", "refund", "refund"]


@pytest.mark.parametrize("begin", [paid, captured], ids=["sale", "capture"])
def test_a_refund_is_repeated_without_harm_at_any_later_time(
    s: SystemUnderTest, begin: Begin
) -> None:
    payment_id = begin(s)
    refund_id = s.refund_payment(payment_id, sar("4.00"))

    def again() -> None:
        with s.acting("test"):
            s.applications.payments.refund(payment_id, refund_id, sar("4.00"), None)

    again()
    s.run()
    again()
    s.refund_payment(payment_id)
    s.run()
    again()
    s.run()

    assert_ended(s, payment_id, "refunded", "0")
    assert len(money_kit.refund_statuses(s, payment_id)) == 2
