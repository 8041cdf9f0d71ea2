"""A system whose followers and workers take turns at random, as processes in a fleet do."""

import random
from datetime import timedelta

from eventsourcing.application import AggregateNotFoundError

from system.following import Following, PolicyFailed
from system.testing import SystemUnderTest

TURNS_MAX = 20_000


class SystemInDisorder(SystemUnderTest):
    """Like `SystemUnderTest`, but in an order drawn from a seed: each turn one follower takes in
    a small batch of one log, or one piece of work is done.

    What comes before its cause (the confirmation of a payment whose saga has not begun) is left
    for a later turn, as the runner does by trying again.
    """

    def __init__(self, seed: int, order: int) -> None:
        super().__init__(seed=seed)
        self.order = random.Random(order)
        for following in self.followings:
            following.batch_size = self.order.choice((1, 2, 7, 200))

    def turn(self) -> bool:
        """One turn of somebody; False when nobody has anything to do."""
        hands = [*self.followings, None]
        self.order.shuffle(hands)
        return any(self._moves(hand) for hand in hands)

    def run(self) -> None:
        """Turns until nobody has anything to do."""
        for _ in range(TURNS_MAX):
            if not self.turn():
                super().run()
                return
        raise RuntimeError(f"the system is not quiet after {TURNS_MAX} turns")

    def some_turns(self) -> None:
        """A few turns: others are left behind."""
        for _ in range(self.order.randrange(12)):
            self.turn()

    def some_time(self) -> None:
        """Lets a random while pass."""
        self.wait(timedelta(seconds=self.order.choice((1, 30, 90, 1300, 5000))))

    def _moves(self, hand: Following | None) -> bool:
        if hand is None:
            return self.work_once()
        try:
            return hand.advance() > 0
        except (AggregateNotFoundError, PolicyFailed) as error:
            if not isinstance(error.__cause__ or error, AggregateNotFoundError):
                raise
            return False
