"""What goes wrong in a simulated run: at the gateway, in the post, at the merchant's, with us."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from application.confirmations import Delivery
from application.payment_gateway import (
    NotAttempted,
    Outcome,
    Refusal,
    Refused,
    Succeeded,
    Unknown,
)
from domain.belief import FOLLOW_UPS
from domain.gateway_report import GatewayReport, TransactionKind, TransactionStatus
from domain.money import money
from tests.simulation.script import Action

if TYPE_CHECKING:
    from tests.simulation.world import World

DUPLICATE = Refused(Refusal.DUPLICATE, "4", "Duplicate Request")
INVALID = Refused(Refusal.INVALID_REQUEST, "206", "Invalid currency code")
LIMITED = Refused(Refusal.RATE_LIMITED, "5", "Too many requests, try again later.")
SLOW = timedelta(seconds=100)
"""The most by which a gateway that hung does what was asked later."""


class ProcessDied(BaseException):
    """The process is gone between two transactions."""


def strike(world: "World", action: Action, payment_id: UUID) -> bool:
    """Lets a fault happen; False when the action is none."""
    if action.kind == "post":
        world.post_faults.append((action.how, action.share))
    elif action.kind == "forge":
        page = world.gateway.page_of(payment_id)
        asked = world.gateway.asked[page.transaction_ref]
        world.forge(replace(page, amount=page.amount or asked), action.how)
    elif action.kind == "lose_sight":
        world.lose_sight(payment_id, timedelta(seconds=action.share**3 * 300_000))
    elif action.kind == "process":
        PROCESS[action.how](world)
    elif action.kind == "follow_ups":
        world.gateway.follow_up_status = DECISIONS[action.how]
    elif action.kind == "merchant":
        world.system.merchant.answers += ANSWERS[action.how]
    elif action.kind == "outage":
        pause = timedelta(seconds=action.share**2 * 20_000)
        world.system.clock.move_to(world.now + pause)
    elif action.kind == "clock":
        world.system.clock.jump_back(timedelta(seconds=action.share * 100))
    else:
        return False
    return True


def _die() -> None:
    raise ProcessDied


def _circuit_open() -> None:
    raise NotAttempted("open", 300_000)


def _hang_then_do(world: "World", action: Action) -> None:
    world.gateway.fall_ill(1, Unknown("time-out"), done_after=SLOW * action.share)


def _ill(outcome: Outcome, *, is_done: bool) -> Callable[["World", Action], None]:
    def strike_once(world: "World", action: Action) -> None:
        world.gateway.fall_ill(1 + int(action.share * 3.5), outcome, is_done=is_done)

    return strike_once


def _answers_garbled(how: str) -> Callable[["World", Action], None]:
    def garble(answer: Outcome) -> Outcome:
        if not isinstance(answer, Succeeded):
            return answer
        return replace(answer, reports=tuple(_unfit(r, how) for r in answer.reports))

    return lambda world, action: world.gateway.fall_ill(1, garble)


GATEWAY: dict[str, Callable[["World", Action], None]] = {
    "hangs": _ill(Unknown("time-out"), is_done=True),
    "hangs_undone": _ill(Unknown("reset"), is_done=False),
    "hangs_then_does": _hang_then_do,
    "refuses": lambda world, action: world.gateway.fall_ill(1, INVALID),
    "limits": _ill(LIMITED, is_done=False),
    "says_duplicate": _ill(DUPLICATE, is_done=True),
    "says_duplicate_undone": _ill(DUPLICATE, is_done=False),
    "garbles_amount": _answers_garbled("amount"),
    "garbles_status": _answers_garbled("status"),
    "circuit_open": lambda world, action: world.gateway.fall_ill(during=_circuit_open),
}

PROCESS: dict[str, Callable[["World"], None]] = {
    "dies_before": lambda world: world.gateway.fall_ill(during=_die),
    "dies_after": lambda world: world.gateway.fall_ill(is_done=True, during=_die),
    "dies_unclaimed": lambda world: setattr(world, "dies_unclaimed", True),
    "clock_put_back": lambda world: setattr(world, "is_clock_put_back", True),
    "overtaken": lambda world: world.gateway.fall_ill(1, lambda a: a, during=world.overtake),
    "restarts": lambda world: world.restart(),
    "races": lambda world: world.race(),
}

DECISIONS = {
    "pending": TransactionStatus.PENDING,
    "declined": TransactionStatus.DECLINED,
    "normal": TransactionStatus.AUTHORISED,
}

ANSWERS: dict[str, list[Delivery | BaseException]] = {
    "fails": [Delivery(500)],
    "fails_long": [Delivery(None, "time-out")] * 4,
    "dies_after": [ProcessDied()],
    "gone": [Delivery(410)],
    "circuit_open": [NotAttempted("circuit_open", 60_000)] * 3,
}


def is_done_in_dashboard(report: GatewayReport) -> bool:
    """True for money that the gateway's people gave back: it bears the cart of what it was."""
    return report.kind in FOLLOW_UPS and report.cart_id[37] in "ak"


def _unfit(report: GatewayReport, how: str) -> GatewayReport:
    """Not of what others did: nobody could tell that another amount is not the right one."""
    is_settled_by_others = report.previous_ref is not None and report.cart_id[37] == "a"
    is_by_others = is_done_in_dashboard(report) or is_settled_by_others
    return report if is_by_others and how == "amount" else garbled(report, how) or report


def garbled(report: GatewayReport, how: str) -> GatewayReport | None:
    """A report that does not fit; None when nothing can be made of this one."""
    if how == "status":
        return replace(report, status=TransactionStatus.UNKNOWN)
    if how == "cart":
        return replace(report, cart_id=report.cart_id[:37] + "a99")
    if how == "kind":
        return replace(report, kind=TransactionKind.UNKNOWN)
    if how == "refusal":
        return replace(report, status=TransactionStatus.DECLINED)
    if report.amount is None:
        return None
    status = TransactionStatus.AUTHORISED
    if how == "previous":
        return replace(report, previous_ref="TST9999999999999", status=status)
    if how == "currency":
        other = "USD" if report.amount.currency.code != "USD" else "EUR"
        return replace(report, amount=money("7.00", other), status=status)
    return replace(report, amount=report.amount * 3, status=status)
