"""What stories about sagas begin with, and what goes wrong in more than one of them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from uuid import UUID

from application.payment_gateway import NotAttempted, Outcome, Refusal, Refused, Succeeded
from domain.gateway_report import TransactionStatus
from system.testing import SystemUnderTest
from tests.simulation import money_kit
from tests.simulation.money_kit import MINUTE, TIME_OUT, sar

HOUR = timedelta(hours=1)
TOO_MANY = Refused(Refusal.RATE_LIMITED, "5", "Too many requests, try again later.")

opened = partial(money_kit.opened, callback_url=None)
paid = partial(money_kit.paid, callback_url=None)
"""The merchant wants to be told of nothing, but where a story gives a `callback_url`."""


def captured(s: SystemUnderTest) -> UUID:
    payment_id = paid(s, "manual")
    s.capture_payment(payment_id)
    s.run()
    return payment_id


def with_two_pages(s: SystemUnderTest, capture_method: str = "automatic") -> UUID:
    """The answer to the first request for a page is lost, so that a second page is opened."""
    s.gateway.fall_ill(1, TIME_OUT, is_done=True)
    payment_id = opened(s, capture_method)
    s.wait(MINUTE / 2)
    return payment_id


def go_one_step(s: SystemUnderTest) -> None:
    """The next call goes out, and what came of it is heard; its sequel is not yet due."""
    s.follow()
    s.work_once()
    s.follow()


@contextmanager
def nobody_told(s: SystemUnderTest) -> Iterator[None]:
    """The gateway gives no notice of what is done meanwhile."""
    notify = s.gateway.notify
    s.gateway.notify = lambda report: None
    yield
    s.gateway.notify = notify


def garbled_status(answer: Outcome) -> Outcome:
    """An answer whose status nobody can read."""
    assert isinstance(answer, Succeeded)
    unknown = TransactionStatus.UNKNOWN
    return replace(answer, reports=tuple(replace(r, status=unknown) for r in answer.reports))


def done_with_more(answer: Outcome) -> Outcome:
    """A false answer: what is about 10.00 was done with 30.00."""
    assert isinstance(answer, Succeeded)
    done = TransactionStatus.AUTHORISED
    reports = [replace(r, status=done, amount=sar("30.00")) for r in answer.reports]
    return replace(answer, reports=tuple(reports))


def circuit_open_for(span: timedelta) -> Callable[[], None]:
    """Happens in place of a call, which may be made after that time."""

    def refuse() -> None:
        raise NotAttempted("open", span // timedelta(milliseconds=1))

    return refuse
