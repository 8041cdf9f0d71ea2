"""What happens in one simulated run, written down beforehand, so that it can be cut short."""

import random
from dataclasses import dataclass

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0


@dataclass(frozen=True)
class Action:
    """One thing that somebody does, or that goes wrong, `at_seconds` after the start.

    `payment` is the number of the payment meant, `share` a number from 0 to 1 that decides
    amounts and durations, `how` a variant. An action that makes no sense when its time has come
    does nothing.
    """

    at_seconds: float
    kind: str
    payment: int = 0
    share: float = 0.0
    how: str = ""

    def __str__(self) -> str:
        how = f" {self.how}" if self.how else ""
        at = f"{self.at_seconds:12.3f} s"
        return f"{at}  payment {self.payment}: {self.kind}{how} ({self.share:.3f})"


CUSTOMER = {
    "pay": 12,
    "decline": 2,
    "cancel_page": 2,
    "expire_page": 1,
    "lose_in_3ds": 1,
    "hold": 2,
    "defer": 2,
    "pay_any_page": 2,
    "decline_any_page": 1,
    "cancel_page_any_page": 1,
    "hold_any_page": 1,
    "defer_any_page": 1,
}
MERCHANT = {
    "cancel": 5,
    "capture": 6,
    "capture_part": 3,
    "refund": 3,
    "refund_part": 5,
    "refund_same": 2,
    "again": 3,
    "create_again": 1,
}
STAFF = {
    "release": 3,
    "release_part": 1,
    "settle_deferred": 3,
    "expire_deferred": 1,
    "dashboard_refund": 2,
    "dashboard_void": 1,
    "dashboard_void_part": 1,
    "dashboard_capture": 1,
    "dashboard_capture_part": 1,
    "lapse": 1,
    "approve": 3,
    "disapprove": 2,
}
OPERATOR = {"retry": 2, "compensate": 1}
VISITS = {"come_back": 3, "replay_webhook": 2}
"""What no money and no status may depend on: the customer's browser, and old news told again."""
VISITS_MAX = 4
FAULTS = {
    "gateway": 10,
    "post": 8,
    "forge": 4,
    "lose_sight": 2,
    "process": 5,
    "follow_ups": 3,
    "merchant": 2,
    "outage": 1,
    "clock": 1,
}
HOW = {
    "gateway": (
        "hangs",
        "hangs_undone",
        "hangs_then_does",
        "refuses",
        "limits",
        "says_duplicate",
        "says_duplicate_undone",
        "garbles_amount",
        "garbles_status",
        "circuit_open",
    ),
    "post": ("lost", "late", "twice", "garbled", "late", "twice"),
    "forge": ("amount", "currency", "cart", "status", "kind", "previous", "refusal"),
    "process": (
        "dies_before",
        "dies_after",
        "dies_unclaimed",
        "clock_put_back",
        "overtaken",
        "restarts",
        "races",
    ),
    "follow_ups": ("pending", "pending", "declined", "normal"),
    "merchant": ("fails", "fails_long", "dies_after", "gone", "circuit_open"),
}
SPANS = (0.4, 3.0, MINUTE, 20 * MINUTE, 2 * HOUR, 3 * DAY)
"""Actions fall into one of these first spans after the one before, so that some crowd together."""

STORIES: tuple[tuple[str, ...], ...] = (
    ("pay", "refund_part", "refund_part"),
    ("pay", "refund", "again"),
    ("pay", "refund_same", "refund_part", "refund"),
    ("pay", "dashboard_refund", "refund_part"),
    ("pay", "cancel"),
    ("cancel", "pay"),
    ("two_pages", "pay_any_page", "pay_any_page"),
    ("two_pages", "pay_any_page", "pay_any_page", "refund"),
    ("two_pages", "manual", "pay_any_page", "pay_any_page", "capture"),
    ("two_pages", "hold", "pay_any_page", "cancel", "release"),
    ("two_pages", "decline_any_page", "pay_any_page"),
    ("two_pages", "pay_any_page", "decline_any_page", "refund_part"),
    ("two_pages", "cancel_page_any_page", "pay_any_page", "pay_any_page"),
    ("two_pages", "hold_any_page", "pay_any_page", "release", "refund"),
    ("two_pages", "hold_any_page", "hold_any_page", "release_part", "release"),
    ("two_pages", "hold_any_page", "decline_any_page", "release"),
    ("two_pages", "defer_any_page", "pay_any_page", "settle_deferred"),
    ("two_pages", "pay_any_page", "dashboard_refund", "pay_any_page", "dashboard_refund"),
    ("two_pages", "pay_any_page", "pay_any_page", "dashboard_refund", "refund_part"),
    ("two_pages", "manual", "pay_any_page", "capture_part", "pay_any_page", "refund"),
    ("two_pages", "manual", "pay_any_page", "cancel", "pay_any_page"),
    ("hold", "release"),
    ("hold", "cancel", "release"),
    ("hold", "release_part", "refund"),
    ("defer", "settle_deferred", "refund_part"),
    ("defer", "cancel", "settle_deferred"),
    ("manual", "pay", "capture"),
    ("manual", "pay", "capture_part", "refund"),
    ("manual", "pay", "capture", "cancel"),
    ("manual", "pay", "capture_part", "cancel"),
    ("manual", "pay", "cancel"),
    ("manual", "pay", "capture", "refund_part", "dashboard_refund"),
    ("manual", "pay", "dashboard_void_part", "capture_part", "refund"),
    ("manual", "pay", "dashboard_void_part", "capture", "dashboard_void_part"),
    ("manual", "pay", "dashboard_void", "capture"),
    ("manual", "pay", "capture_part", "dashboard_void_part"),
    ("manual", "pay", "cancel", "dashboard_void"),
    ("manual", "pay", "lapse"),
    ("manual", "pay", "capture_part", "again", "refund", "again"),
    ("manual", "pay", "cancel", "again"),
    ("manual", "pay", "dashboard_capture", "refund_part"),
    ("manual", "pay", "dashboard_capture_part", "capture"),
    ("manual", "pay", "capture", "dashboard_capture_part"),
    ("manual", "pay", "cancel", "dashboard_capture_part"),
    ("two_pages", "manual", "pay_any_page", "pay_any_page", "dashboard_capture"),
    ("lose_in_3ds",),
    ("two_pages", "lose_in_3ds", "pay_any_page"),
    ("two_pages", "expire_page", "pay_any_page"),
    ("create_again", "pay", "create_again"),
    ("two_pages", "manual", "pay_any_page", "pay_any_page", "lapse", "capture_part"),
    ("two_pages", "manual", "pay_any_page", "pay_any_page", "dashboard_void", "capture"),
    ("manual", "pay"),
)
"""What people do in order; everything else happens around it."""

TERMS = frozenset({"manual", "two_pages"})
"""Not something that somebody does, but how the payment is to begin."""


def script_for(seed: int) -> list[Action]:
    """The script of a seed, in order of time."""
    rng = random.Random(seed)
    actions: list[Action] = []
    for payment in range(rng.choice((1, 1, 1, 2))):
        actions += _life(rng, payment, rng.choice((0.0, rng.random() * 3)))
        visits = random.Random(f"visits {seed} {payment}")
        spans = visits.choices(SPANS, k=visits.randint(0, VISITS_MAX))
        actions += [_some(visits, VISITS, payment, 0.0, span) for span in spans]
    return sorted(actions, key=lambda action: action.at_seconds)


def _life(rng: random.Random, payment: int, born_at: float) -> list[Action]:
    story = rng.choice((*STORIES, (), ()))
    life = [Action(born_at, "create", payment, rng.random(), _terms(rng, "manual" in story))]
    if "two_pages" in story:
        life.append(Action(born_at - 0.001, "gateway", payment, 0.0, "hangs"))
    at_seconds = born_at
    for kind in [kind for kind in story if kind not in TERMS]:
        at_seconds += 0.1 + rng.random() * rng.choice(SPANS[:-1])
        if rng.random() < 0.5:
            life.append(_some(rng, FAULTS, payment, max(born_at, at_seconds - 0.3), 0.2))
        life.append(_action(rng, kind, payment, at_seconds))
    for cast, most in ((CUSTOMER, 1), (MERCHANT, 2), (STAFF, 2), (OPERATOR, 1), (FAULTS, 3)):
        spans = rng.choices(SPANS, k=rng.randint(0, most))
        life += [_some(rng, cast, payment, born_at, span) for span in spans]
    return life


def _terms(rng: random.Random, is_manual: bool) -> str:
    currency = rng.choice(("SAR", "KWD", "JPY", "AED"))
    capture = "manual" if is_manual else rng.choice(("automatic", "automatic", "manual"))
    told = rng.choice(("told", "told", "told", "untold"))
    return f"{currency} {capture} {told}"


def _some(
    rng: random.Random, cast: dict[str, int], payment: int, since: float, span: float
) -> Action:
    kind = rng.choices(list(cast), list(cast.values()))[0]
    return _action(rng, kind, payment, since + rng.random() * span)


def _action(rng: random.Random, kind: str, payment: int, at_seconds: float) -> Action:
    how = rng.choice(HOW[kind]) if kind in HOW else ""
    if kind in CUSTOMER or kind in STAFF:
        how = rng.choice(("", "", "silently"))
    return Action(at_seconds, kind, payment, rng.random(), how)
