"""Nothing is lost or taken in twice when a follower's memory of its position is wrong."""

from collections import Counter

import pytest
from eventsourcing.persistence import IntegrityError

from system.following import Following
from system.persistence.postgres import PostgresPersistence
from tests.integration.production_kit import Node

BATCH, OVERLAP = 10, 4


class Follower:
    """One process's view of payments, and which events it took in for good."""

    def __init__(self, persistence: PostgresPersistence, at: Node, batch_size: int) -> None:
        view = at.applications.payments_view
        self.following = Following(view, at.applications.payments, batch_size)
        self.persistence = persistence
        self.taken: Counter[int] = Counter()

    def advance(self) -> None:
        """Takes in the next batch, and notes its events if it was recorded."""
        before = self.following.position
        self.following.advance()
        self.taken.update(range(before + 1, self.following.position + 1))


def test_of_two_batches_that_overlap_only_one_is_recorded(idle: Node) -> None:
    for _ in range(BATCH):
        idle.create_payment()
    quick = Follower(idle.persistence, idle, OVERLAP)
    late = Follower(idle.persistence, idle, BATCH)
    assert quick.following.position == late.following.position == 0
    quick.advance()
    with pytest.raises(IntegrityError):
        late.advance()
    late.advance()
    late.advance()
    assert quick.taken + late.taken == Counter(range(1, BATCH + 1))


def test_what_a_crash_of_the_database_took_back_is_taken_in_again(idle: Node) -> None:
    """A position without events does not wait for the disk; PostgreSQL may lose the last ones."""
    for _ in range(BATCH):
        idle.create_payment()
    follower = Follower(idle.persistence, idle, OVERLAP)
    follower.advance()
    follower.advance()
    lost = idle.query("DELETE FROM view_payments RETURNING payment_id")
    idle.query("DELETE FROM paymentsview_tracking RETURNING 1")
    assert len(lost) == 2 * OVERLAP
    with pytest.raises(IntegrityError):
        follower.advance()
    while follower.following.advance():
        continue
    assert idle.query("SELECT count(*) FROM view_payments") == [{"count": BATCH}]
