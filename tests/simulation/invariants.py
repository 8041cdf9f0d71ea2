"""What must hold in every run, at every quiet moment and in the end."""

from collections import Counter
from decimal import Decimal
from itertools import combinations
from typing import TYPE_CHECKING, Any
from uuid import UUID

from application.confirmations import ORDER_WAIT_MAX
from application.event_log import EventLog, replayed
from application.transcoding import PaySagaMapper
from domain.confirmation import Confirmation, ConfirmationStatus
from domain.earnings import platform_fee
from domain.event import PaySagaAggregate
from domain.gateway_report import GatewayReport, TransactionKind, TransactionStatus
from domain.payment import Payment
from domain.payment_saga import PaymentSaga
from domain.payment_terms import PaymentStatus, RefundStatus
from domain.saga_steps import SagaStatus, Step, StepStatus
from domain.security_incident import SecurityIncident
from system.followers.confirmations import Told
from tests.simulation.contract_kit import PERCENT

if TYPE_CHECKING:
    from tests.simulation.world import World

OPEN = {PaymentStatus.INITIATED, PaymentStatus.PROCESSING, PaymentStatus.AUTHORIZED}
TAKEN = {PaymentStatus.COMPLETED, PaymentStatus.REFUNDED}
BUSY = {SagaStatus.RUNNING, SagaStatus.WAITING, SagaStatus.COMPENSATING}
NEXT: dict[PaymentStatus, set[PaymentStatus]] = {
    PaymentStatus.INITIATED: {
        PaymentStatus.PROCESSING,
        PaymentStatus.FAILED,
        PaymentStatus.CANCELLED,
    },
    PaymentStatus.PROCESSING: {
        PaymentStatus.AUTHORIZED,
        PaymentStatus.COMPLETED,
        PaymentStatus.FAILED,
        PaymentStatus.CANCELLED,
    },
    PaymentStatus.AUTHORIZED: {
        PaymentStatus.COMPLETED,
        PaymentStatus.FAILED,
        PaymentStatus.CANCELLED,
    },
    PaymentStatus.COMPLETED: {PaymentStatus.REFUNDED},
}
"""Where a status may go; there is no way back, and none out of the last ones."""

REFUND_NEXT = {
    RefundStatus.PENDING: set(RefundStatus),
    RefundStatus.SUCCEEDED: {RefundStatus.SUCCEEDED},
    RefundStatus.FAILED: {RefundStatus.FAILED, RefundStatus.SUCCEEDED},
}
"""Where a refund may go: one that the gateway refused may turn out to have been made after all."""

SAGA_NEXT: dict[SagaStatus, set[SagaStatus]] = {
    SagaStatus.RUNNING: {SagaStatus.WAITING, SagaStatus.COMPLETED, SagaStatus.COMPENSATING},
    SagaStatus.WAITING: {SagaStatus.RUNNING, SagaStatus.COMPENSATING},
    SagaStatus.COMPENSATING: {SagaStatus.COMPENSATED},
    SagaStatus.COMPENSATED: {SagaStatus.COMPENSATING},
}
"""Where a saga may go: what went back never goes forward again, but late money is given back."""

STEP_ORDER = [
    StepStatus.PENDING,
    StepStatus.RUNNING,
    StepStatus.FAILED,
    StepStatus.SUCCEEDED,
    StepStatus.COMPENSATING,
    StepStatus.COMPENSATED,
]
"""The statuses of a step, in the order in which it may have them. What was given up (a capture,
when the merchant cancels) may turn out to have been done after all."""

OUR_CARTS = {
    TransactionKind.REFUND: "rc",
    TransactionKind.CAPTURE: "k",
    TransactionKind.VOID: "cv",
    TransactionKind.RELEASE: "cv",
}
"""The letters of the carts of what PaySaga itself asked for; what others did bears other ones."""


class Broken(Exception):
    """An invariant does not hold."""


def require(condition: object, text: str) -> None:
    """Raises `Broken` with the text unless the condition holds."""
    if not condition:
        raise Broken(text)


def check_when_quiet(world: "World") -> None:
    """Nothing that is not final hangs: it has work on the agenda, or is parked with a reason."""
    rows = world.system.persistence.tables.rows
    busy = {row["payment_id"] for row in rows["agenda"].values()}
    parked = {row["payment_id"] for row in rows["view_sagas"].values() if row.get("parked_detail")}
    covered = busy | parked
    for (payment_id,), row in rows["view_payments"].items():
        require(row["status"] not in OPEN or payment_id in covered, f"hangs: {row['status']}")
    for row in rows["view_sagas"].values():
        is_covered = row["status"] not in BUSY or row["payment_id"] in covered
        require(is_covered, f"the saga hangs: {row['status']}")
    for row in rows["view_refunds"].values():
        is_covered = row["status"] != RefundStatus.PENDING or row["payment_id"] in covered
        require(is_covered, "a refund hangs")


def check_at_end(world: "World") -> None:
    """Everything agrees: the gateway's books, payments, sagas, merchants, views and replays."""
    for payment_id in world.ids.values():
        payment, saga = world.system.payment(payment_id), world.system.saga(payment_id)
        _check_books(world, payment, saga)
        _check_agreement(world, payment, saga)
        _check_history(world, payment_id)
        _check_saga_history(world, saga)
        _check_compensations(world, saga)
        _check_told(world, payment_id)
        _check_views(world, payment, saga)
        _check_earnings(world, payment)
    _check_incidents(world)
    _check_logs(world)


def check_operator_helped(world: "World") -> None:
    """A healthy gateway lets an operator end all but what it has not decided about itself."""
    for payment_id in world.ids.values():
        saga = world.system.saga(payment_id)
        reasons = [why for why in saga.parked.values() if "still says pending" not in why]
        require(not reasons, f"an operator cannot end what is parked: {reasons}")


def check_replay(log: EventLog[Any], aggregate: PaySagaAggregate) -> None:
    """The stored events, read anew, give the aggregate as it was when it was recorded."""
    stored = log.recorder.select_events(aggregate.id, lte=aggregate.version)
    assert isinstance(log.mapper, PaySagaMapper)
    decode = log.mapper.decode
    events = [decode(e.originator_id, e.originator_version, e.topic, e.state) for e in stored]
    replay = replayed(None, events)
    kind = type(aggregate).__name__
    require(vars(replay) == vars(aggregate), f"replay gives another {kind}")


def _check_logs(world: "World") -> None:
    """Every event of every log is reached by replaying its aggregate."""
    for log in world.system.applications.by_name.values():
        versions: dict[UUID, list[int]] = {}
        for event in log.all():
            versions.setdefault(event.originator_id, []).append(event.originator_version)
        for aggregate_id, found in versions.items():
            is_whole = found == list(range(1, len(found) + 1))
            require(is_whole, f"an aggregate of {log.name} has the versions {found}")
            require(log.get(aggregate_id).version == len(found), "replay stops short")


def _check_books(world: "World", payment: Payment, saga: PaymentSaga) -> None:
    moved: Counter[str] = Counter()
    for report in world.gateway.of(payment.id):
        is_ours = report.cart_id[37] in OUR_CARTS.get(report.kind, "")
        is_moved = report.status in {TransactionStatus.AUTHORISED, TransactionStatus.PENDING}
        moved[f"{report.kind} {report.cart_id}"] += is_ours and is_moved
    require(max(moved.values(), default=0) <= 1, f"money moved twice: {moved}")
    if saga.status is SagaStatus.PARKED:
        return
    net = world.gateway.net_of(payment.id)
    kept = payment.amount_captured.amount - payment.amount_refunded.amount
    require(net == kept, f"the gateway keeps {net}, the payment says {kept}")
    held = world.gateway.held_of(payment.id)
    require(not held, f"{held} is still held")


def _check_agreement(world: "World", payment: Payment, saga: PaymentSaga) -> None:
    if saga.status is SagaStatus.PARKED:
        [*_, parked] = [
            event
            for event in world.system.applications.sagas.history(saga.id)
            if isinstance(event, PaymentSaga.Parked)
        ]
        require(parked.detail and parked.advice, "parked without a reason or an advice")
        return
    require(payment.status not in OPEN, f"the payment is still {payment.status}")
    closed = SagaStatus.COMPLETED if payment.status in TAKEN else SagaStatus.COMPENSATED
    require(saga.status is closed, f"the payment is {payment.status}, its saga {saga.status}")
    pending = [r for r in payment.refunds.values() if r.status is RefundStatus.PENDING]
    require(not pending, "a refund is still pending")
    require(not saga.follow_ups_under_way, "a follow-up is still under way")
    work = world.system.persistence.tables.rows["agenda"].values()
    left = [row["kind"] for row in work if row["payment_id"] == payment.id]
    require(not left, f"the agenda still holds {left}")
    kept = payment.amount_captured - payment.amount_refunded
    require(kept.amount >= 0, "more refunded than captured")


def _check_earnings(world: "World", payment: Payment) -> None:
    """What was shared out is what is left of the payment, to the last unit."""
    rows = world.system.persistence.tables.rows["view_earnings"].values()
    shared = [row for row in rows if row["payment_id"] == payment.id]
    gross = sum((row["gross"] for row in shared), Decimal(0))
    kept = payment.amount_captured - payment.amount_refunded
    require(gross == kept.amount, f"{gross} was shared out of {kept.amount}")
    fee = sum((row["platform_fee"] for row in shared), Decimal(0))
    require(fee == platform_fee(kept, PERCENT).amount, f"the platform took {fee}")
    net = sum((row["net"] for row in shared), Decimal(0))
    require(fee + net == gross, f"{fee} and {net} are not {gross}")


def _check_history(world: "World", payment_id: UUID) -> None:
    log = world.system.applications.payments
    status = PaymentStatus.INITIATED
    payment: Any = None
    refunds: dict[UUID, RefundStatus] = {}
    for event in log.history(payment_id):
        payment = event.mutate(payment)
        now = {id: refund.status for id, refund in payment.refunds.items()}
        for refund_id, earlier in refunds.items():
            is_kept = now.get(refund_id) in REFUND_NEXT[earlier]
            require(is_kept, f"a refund went from {earlier} to {now.get(refund_id)}")
        refunds = now
        if payment.status is not status:
            allowed = payment.status in NEXT.get(status, set())
            require(allowed, f"the status went from {status} to {payment.status}")
            status = payment.status


def _check_saga_history(world: "World", saga: PaymentSaga) -> None:
    """Neither a saga nor one of its steps goes backwards."""
    stage, steps = SagaStatus.RUNNING, dict.fromkeys(saga.steps, StepStatus.PENDING)
    state: Any = None
    for event in world.system.applications.sagas.history(saga.id):
        state = event.mutate(state)
        is_next = state.stage is stage or state.stage in SAGA_NEXT.get(stage, set())
        require(is_next, f"the saga went from {stage} to {state.stage}")
        stage = state.stage
        for step, earlier in steps.items():
            later = state.steps[step].status
            is_forward = STEP_ORDER.index(later) >= STEP_ORDER.index(earlier)
            require(is_forward, f"the step {step} went from {earlier} to {later}")
            steps[step] = later


def _check_compensations(world: "World", saga: PaymentSaga) -> None:
    """Steps are undone last first, all that took effect, and only in a saga that went back."""
    history = world.system.applications.sagas.history(saga.id)
    undone = [event.step for event in history if isinstance(event, PaymentSaga.StepCompensated)]
    order = list(Step)
    expected = sorted(set(undone), key=order.index, reverse=True)
    require(undone == expected, f"undone in the wrong order: {undone}")
    if saga.status is SagaStatus.COMPENSATED:
        require(Step.CREATE_RECORD in undone, "the record was not closed")
        money = saga.settlement is not None or saga.authorization is not None
        require(not money or Step.SETTLE in undone, "the settling was not undone")
    if saga.status is SagaStatus.COMPLETED:
        require(not undone, f"a completed saga undid {undone}")


def _check_told(world: "World", payment_id: UUID) -> None:
    apps = world.system.applications
    to_tell = [
        event
        for event in apps.payments.history(payment_id)
        if isinstance(event, Told) and event.callback_url
    ]
    messages = [m for m in world.system.merchant.messages if m["aggregateId"] == str(payment_id)]
    told = list(dict.fromkeys(message["id"] for message in messages))
    is_smooth = True
    exhausted = set()
    histories = []
    for event in to_tell:
        id = Confirmation.create_id(payment_id, event.originator_version)
        histories.append(apps.confirmations.history(id))
        require(histories[-1], "the merchant was not told of an event")
        confirmation = apps.confirmations.get(id)
        is_smooth &= confirmation.attempts == 1 and len(messages) == len(told)
        require(confirmation.status is not ConfirmationStatus.PENDING, "the merchant still waits")
        if confirmation.status is ConfirmationStatus.EXHAUSTED:
            exhausted.add(str(event.event_id))
    expected = [i for i in (str(e.event_id) for e in to_tell) if i not in exhausted]
    require(set(told) >= set(expected), "the merchant was not told of every event")
    in_order = [i for i in told if i in expected] == expected
    require(not is_smooth or in_order, "the merchant was told in another order")
    place = {event.event_id: n for n, event in enumerate(apps.confirmations.all())}
    for earlier, later in combinations(histories, 2):
        _check_order(earlier, later, place)


def _check_order(earlier: list[Any], later: list[Any], place: dict[UUID, int]) -> None:
    """Nothing is sent while an earlier message is being tried, unless it has waited its hour.
    What comes first is told by the log: clocks may be put back."""
    closed = Confirmation.Delivered | Confirmation.Exhausted
    ended = next(event for event in earlier if isinstance(event, closed))
    tried = next(e for e in later if isinstance(e, Confirmation.AttemptFailed | closed))
    held = (event.timestamp for event in later if isinstance(event, Confirmation.Postponed))
    waited = tried.timestamp - next(held, tried.timestamp)
    is_in_turn = place[ended.event_id] < place[tried.event_id]
    require(is_in_turn or waited >= ORDER_WAIT_MAX, "a message did not wait its turn")


def _check_views(world: "World", payment: Payment, saga: PaymentSaga) -> None:
    tables = world.system.persistence.tables.rows
    row = tables["view_payments"][(payment.id,)]
    require(row["status"] == payment.status, "the view shows another status")
    require(row["amount_captured"] == payment.amount_captured.amount, "the view's capture is off")
    require(row["amount_refunded"] == payment.amount_refunded.amount, "the view's refunds are off")
    shown = {
        key[0]: refund["status"]
        for key, refund in tables["view_refunds"].items()
        if refund["payment_id"] == payment.id
    }
    actual = {refund.refund_id: refund.status for refund in payment.refunds.values()}
    require(shown == actual, "the view shows other refunds")
    shown_saga = tables["view_sagas"][(saga.id,)]
    status = "parked" if shown_saga.get("parked_detail") else shown_saga["status"]
    require(status == saga.status, f"the view shows a {status} saga, it is {saga.status}")


def _deed(report: GatewayReport) -> tuple[object, ...]:
    """What two notifications have in common when they tell the same of the same."""
    return (report.identity, report.amount, report.cart_id, report.previous_ref)


def _check_incidents(world: "World") -> None:
    apps = world.system.applications
    doubts = [e for e in apps.sagas.all() if isinstance(e, PaymentSaga.ReportDoubted)]
    incidents = [e for e in apps.operations.all() if isinstance(e, SecurityIncident.Recorded)]
    require(len(doubts) == len(incidents), "a doubt without a security event")
    doubted = {_deed(doubt.report) for doubt in doubts}
    missing = [report for report in world.forged if _deed(report) not in doubted]
    require(not missing, f"a forged report was not doubted: {missing}")
