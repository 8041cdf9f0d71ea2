"""Runs seeds, finds the shortest history that still fails, and says how to repeat it."""

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from domain.gateway_report import GatewayReport
from domain.money import Money, written
from domain.payment_saga import Call
from tests.simulation.invariants import Broken
from tests.simulation.people import PeopledWorld
from tests.simulation.script import Action, script_for

SHRINKS_MAX = 400
TRACE_MAX = 80
TEXT_MAX = 230
UNSHOWN = frozenset(
    {
        *("originator_id", "originator_version", "originator_topic", "timestamp", "metadata"),
        *("payment_id", "payload", "headers", "signature", "provider", "ip_address"),
        *("merchant_metadata", "callback_url", "description", "payment_method", "open_until"),
        *("instrument", "message", "code", "occurred_at"),
    }
)


@dataclass(frozen=True)
class Failure:
    """A run in which something was not as it must be."""

    seed: int
    script: list[Action]
    what: str
    where: str
    trace: str

    def __str__(self) -> str:
        actions = "\n".join(str(action) for action in self.script)
        return (
            f"seed {self.seed}: {self.what}{self.where}\n"
            f"repeat it with: python -m tests.simulation --seed {self.seed}\n"
            f"the shortest history found:\n{actions}\n{self.trace}"
        )


def run(seed: int, script: list[Action] | None = None) -> Failure | None:
    """Plays a seed's script, or another one in the same order of things."""
    script = script_for(seed) if script is None else script
    world = PeopledWorld(seed)
    try:
        with world.system:
            world.play(script)
    except Broken as broken:
        return Failure(seed, script, str(broken), "", _trace(world))
    except Exception as error:
        where = "".join(traceback.format_tb(error.__traceback__)[-3:])
        what = f"{type(error).__name__}: {error}"
        return Failure(seed, script, what, "\n" + where, _trace(world))
    return None


Player = Callable[[int, list[Action]], Failure | None]
"""Plays a script with a seed and tells what went wrong."""


def shrunk(failure: Failure, play: Player = run) -> Failure:
    """Drops actions for as long as the same thing still goes wrong."""
    runs, size = 0, max(1, len(failure.script) // 2)
    while size and runs < SHRINKS_MAX:
        for start in range(0, len(failure.script), size):
            runs += 1
            shorter = play(failure.seed, failure.script[:start] + failure.script[start + size :])
            if shorter is not None and _kind(shorter) == _kind(failure):
                failure = shorter
                break
        else:
            size //= 2
    return failure


def _kind(failure: Failure) -> str:
    return failure.what[:20]


def _trace(world: PeopledWorld) -> str:
    logs = world.system.applications
    recorded = [
        event
        for log in (logs.payments, logs.sagas, logs.gateway, logs.webhooks)
        for event in log.all()
    ]
    recorded.sort(key=lambda event: event.timestamp)
    start = recorded[0].timestamp if recorded else None
    lines = []
    for event in recorded[-TRACE_MAX:]:
        at = (event.timestamp - start).total_seconds() if start else 0
        lines.append(f"{at:12.3f}  {type(event).__qualname__:34} {_short(event)}")
    books = [f"  in the gateway's books: {_short(r)}" for r in world.gateway.transactions.values()]
    return "\n".join([*lines, *books])


def _short(value: object) -> str:
    shown = {k: v for k, v in vars(value).items() if k not in UNSHOWN and v not in (None, [], {})}
    text = ", ".join(f"{k}={_text(v)}" for k, v in shown.items())
    return text[:TEXT_MAX]


def _text(value: object) -> str:
    if isinstance(value, list):
        return f"[{'; '.join(_text(v) for v in value)}]"
    if isinstance(value, Call | GatewayReport):
        return f"<{_short(value)}>"
    if isinstance(value, UUID):
        return str(value)[:4]
    if isinstance(value, Money):
        return written(value)
    return value.strftime("%d %H:%M:%S") if isinstance(value, datetime) else str(value)
