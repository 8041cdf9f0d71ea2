"""Makes references in the shapes PayTabs uses, so that what parses here parses there."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import datetime
from random import Random

_REFERENCES_PER_DAY = 10**8
_PAGE_TOKEN_BITS = 56 * 4
_REGION = "0201"


class Identifiers:
    """Source of references; the same clock and random source give the same references.

    The running number starts at a random place, so that a simulator without a data file does not
    hand out yesterday's references again. Source: PayTabs, section 3.4 of docs/paytabs.md.
    """

    def __init__(self, clock: Callable[[], datetime], random: Random) -> None:
        self._clock = clock
        self._random = random
        self._numbers = itertools.count(random.randrange(_REFERENCES_PER_DAY))
        self._traces = itertools.count(1)

    def tran_ref(self) -> str:
        """16 characters: TST (test profile), year and day of year, 8 digits."""
        return f"TST{self._clock():%y%j}{next(self._numbers) % _REFERENCES_PER_DAY:08d}"

    def trace(self, kind: str = "PMNT") -> str:
        """A trace: ``PMNT`` for answers, ``IPNS`` for notifications, ``TRAN`` for acquirers."""
        seconds = int(self._clock().timestamp())
        return f"{kind}{_REGION}.{seconds:08X}.{next(self._traces) & 0xFFFFFFFF:08X}"

    def page_token(self) -> str:
        """56 upper-case hex characters, not to be guessed."""
        return f"{self._random.getrandbits(_PAGE_TOKEN_BITS):056X}"

    def approval_code(self) -> str:
        """The test gateway's approval code, such as G48213."""
        return f"G{self._random.randrange(10**5):05d}"

    def agent_reference(self) -> str:
        """The long number a customer shows when paying a pending payment in cash."""
        return f"{self._random.randrange(10**13, 10**14)}"
