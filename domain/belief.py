"""What to believe of a gateway's report: one pure rule for callbacks, answers and queries alike."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from domain.gateway_report import GatewayReport, TransactionKind, TransactionStatus
from domain.money import Money, written


class Verdict(StrEnum):
    """What a report means for the payment it speaks of."""

    PAID = "paid"
    AUTHORIZED = "authorized"
    REFUSED = "refused"
    OPEN = "open"
    HELD = "held"
    IRRELEVANT = "irrelevant"
    DOUBTED = "doubted"


@dataclass(frozen=True)
class Expectation:
    """What a payment's saga asked the gateway for, against which its reports are held.

    `known` is the money that was believed before, by reference; `is_verified` says that the
    report is the gateway's own answer, not a notification.
    """

    amount: Money
    cart_ids: Collection[str]
    transaction_refs: Collection[str]
    current_ref: str | None
    capture: bool
    known: Mapping[str, Money] = field(default_factory=dict)
    is_verified: bool = False
    settled_refs: Collection[str | None] = ()
    """Transactions that were held or pending, and that the known money points to."""


@dataclass(frozen=True)
class Judgement:
    """A verdict, with the reason where the report is doubted."""

    verdict: Verdict
    reason: str = ""


AUTHORIZED = Judgement(Verdict.AUTHORIZED)
FOLLOW_UPS = frozenset({TransactionKind.REFUND, TransactionKind.VOID, TransactionKind.RELEASE})


def judge(report: GatewayReport, expected: Expectation) -> Judgement:
    """Decides what a report means. Amount, currency, cart, kind and previous reference must fit.

    A refund, void or release also says "authorised" and is never taken for a sale; a refusal
    counts only for the page that the customer has now (PayTabs, section 7.5).
    """
    if report.kind in FOLLOW_UPS:
        return Judgement(Verdict.IRRELEVANT)
    if not _is_ours(report, expected):
        return Judgement(Verdict.DOUBTED, "it names a cart that was never asked for")
    if report.status is TransactionStatus.UNKNOWN or report.kind is TransactionKind.UNKNOWN:
        return Judgement(Verdict.DOUBTED, "its status or its type is not known")
    if report.status is TransactionStatus.AUTHORISED:
        return _judge_money(report, expected)
    if report.status in {TransactionStatus.ON_HOLD, TransactionStatus.PENDING}:
        is_over = report.transaction_ref in expected.settled_refs
        return Judgement(Verdict.IRRELEVANT if is_over else Verdict.HELD)
    if report.status is TransactionStatus.OPEN:
        return Judgement(Verdict.OPEN)
    return _judge_refusal(report, expected)


def _is_ours(report: GatewayReport, expected: Expectation) -> bool:
    if report.cart_id in expected.cart_ids:
        return True
    refs = expected.transaction_refs
    return report.previous_ref in refs or (not report.cart_id and report.transaction_ref in refs)


def _judge_refusal(report: GatewayReport, expected: Expectation) -> Judgement:
    """A capture that was refused, whatever it is called, leaves what it was to take as it was."""
    if report.kind is TransactionKind.CAPTURE or _is_failed_follower(report):
        return Judgement(Verdict.IRRELEVANT)
    if expected.current_ref not in {None, report.transaction_ref, report.previous_ref}:
        return Judgement(Verdict.IRRELEVANT)
    if report.amount is not None and report.amount.amount and report.amount != expected.amount:
        return Judgement(Verdict.DOUBTED, _other_money(report, expected))
    return Judgement(Verdict.REFUSED)


def _is_failed_follower(report: GatewayReport) -> bool:
    """True for a capture or a cash payment that did not work: it may be tried again."""
    is_failed = report.status in {TransactionStatus.DECLINED, TransactionStatus.ERROR}
    return is_failed and report.previous_ref is not None


def _is_wrong_sale(report: GatewayReport, expected: Expectation) -> bool:
    """Where the merchant captures there is no sale but one that follows another transaction: a
    capture may be called so, and cash can only be paid, not reserved (PayTabs, section 7.5)."""
    is_first = report.previous_ref is None
    return report.kind is TransactionKind.SALE and is_first and not expected.capture


def _judge_money(report: GatewayReport, expected: Expectation) -> Judgement:
    if report.kind is TransactionKind.PAYMENT_REQUEST:
        return Judgement(Verdict.HELD)
    if not _is_amount_right(report, expected):
        return Judgement(Verdict.DOUBTED, _other_money(report, expected))
    if not _is_link_right(report, expected):
        return Judgement(Verdict.DOUBTED, "it follows a transaction that is not this payment's")
    if report.kind is TransactionKind.AUTHORIZATION:
        return _judge_hold(report, expected) if expected.capture else AUTHORIZED
    if _is_wrong_sale(report, expected):
        return Judgement(Verdict.DOUBTED, "it is a sale where an authorization was asked for")
    return Judgement(Verdict.PAID)


def _judge_hold(report: GatewayReport, expected: Expectation) -> Judgement:
    """A sale that was put on hold is shown as an authorization. Once the hold is lifted, the
    money comes as a capture (PayTabs, sections 4 and 5): that one is waited for."""
    if report.transaction_ref in expected.settled_refs:
        return Judgement(Verdict.IRRELEVANT)
    if expected.is_verified:
        return Judgement(Verdict.HELD)
    return Judgement(Verdict.DOUBTED, "it authorizes where a sale was asked for")


def _is_link_right(report: GatewayReport, expected: Expectation) -> bool:
    """What follows another transaction, as a capture does, follows one of ours; the gateway
    itself may say so by the cart."""
    if report.previous_ref is None and report.kind is not TransactionKind.CAPTURE:
        return True
    is_ours_by_cart = expected.is_verified and report.cart_id in expected.cart_ids
    return is_ours_by_cart or report.previous_ref in expected.transaction_refs


def _is_amount_right(report: GatewayReport, expected: Expectation) -> bool:
    """A held sale may be let through in part, and an authorization captured in part: that is
    believed when the gateway answers so."""
    if report.amount is None:
        return False
    if report.amount in (expected.amount, expected.known.get(report.transaction_ref)):
        return True
    is_capture = report.kind is TransactionKind.CAPTURE or _captures_known(report, expected)
    is_let_through = is_capture and expected.is_verified
    is_same_currency = report.amount.currency == expected.amount.currency
    return is_let_through and is_same_currency and report.amount <= expected.amount


def _captures_known(report: GatewayReport, expected: Expectation) -> bool:
    is_of_known = report.previous_ref in expected.known and not expected.capture
    return report.kind is TransactionKind.SALE and is_of_known


def _other_money(report: GatewayReport, expected: Expectation) -> str:
    told = written(report.amount) if report.amount is not None else "no amount"
    return f"it speaks of {told}, the payment is of {written(expected.amount)}"
