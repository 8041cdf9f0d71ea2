"""How far a follower has come, together with where it believed to be: one without the other would
let two batches overlap."""

from dataclasses import dataclass

from eventsourcing.persistence import Tracking


@dataclass(frozen=True)
class Reached(Tracking):
    """A position that is recorded only if `after` is the recorded one (0: there is none yet).

    It is not when another process was quicker, and when PostgreSQL crashed and lost the last
    commits that did not wait for the disk. A plain `Tracking` need only be ahead.
    """

    after: int


def starts_at(tracking: Tracking) -> int | None:
    """The position that must be the recorded one; None when it does not matter."""
    return tracking.after if isinstance(tracking, Reached) else None
