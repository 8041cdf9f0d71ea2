"""The gateway's rules for follow-ups: each one allows, or refuses with its reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from interface.simulator.transactions import Kind, Transaction


class Refusal(NamedTuple):
    """Why a follow-up is refused; it becomes the result of a transaction, not an HTTP error."""

    status: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Position:
    """A transaction and how much of it (major units) its follow-ups have used up."""

    previous: Transaction
    captured: Decimal
    released: Decimal
    refunded: Decimal

    def remaining(self, kind: Kind) -> Decimal:
        """What a follow-up of this kind may still move."""
        used = self.refunded if kind is Kind.REFUND else self.captured + self.released
        return self.previous.order.amount - used


Rule = Callable[[Position, Kind, Decimal], Refusal | None]

_ALLOWED_ON = {
    Kind.REFUND: frozenset({"Sale", "Capture"}),
    Kind.CAPTURE: frozenset({"Auth"}),
    Kind.VOID: frozenset({"Auth"}),
    Kind.RELEASE: frozenset({"Auth"}),
}


def previous_is_not_on_hold(position: Position, _kind: Kind, _amount: Decimal) -> Refusal | None:
    """A held payment moves only after the merchant released it (code 120)."""
    if position.previous.status != "H":
        return None
    return Refusal("E", "120", "Previous transaction is on hold")


def previous_was_successful(position: Position, _kind: Kind, _amount: Decimal) -> Refusal | None:
    """Only an authorised transaction can be followed up (901: our code, PayTabs' is not known)."""
    if position.previous.status == "A":
        return None
    return Refusal("E", "901", "Previous transaction is not authorised")


def kind_fits_previous(position: Position, kind: Kind, _amount: Decimal) -> Refusal | None:
    """Refund a sale or capture; capture, void and release an auth (902: our code)."""
    if position.previous.performed in _ALLOWED_ON[kind]:
        return None
    return Refusal("E", "902", f"{kind.shown} is not possible on {position.previous.performed}")


def amount_remains(position: Position, kind: Kind, amount: Decimal) -> Refusal | None:
    """All follow-ups together never move more than there is (903: our code)."""
    if amount <= position.remaining(kind):
        return None
    return Refusal("E", "903", f"Amount is above the {position.remaining(kind)} that remains")


RULES: tuple[Rule, ...] = (
    previous_is_not_on_hold,
    previous_was_successful,
    kind_fits_previous,
    amount_remains,
)


def refusal(position: Position, kind: Kind, amount: Decimal) -> Refusal | None:
    """The first rule's objection to this follow-up, None when all allow it."""
    return next(filter(None, (rule(position, kind, amount) for rule in RULES)), None)
