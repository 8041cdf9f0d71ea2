"""Keeps strangers from filling the database with security events."""

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

WINDOW_SECONDS = 60.0
PER_ADDRESS_MAX = 10
"""Incidents of one address that are recorded within the window."""
IN_ALL_MAX = 60
"""Incidents of all addresses that one process records within the window."""
ADDRESSES_MAX = 1024
"""Addresses remembered; the one heard least recently is forgotten, with what it counted."""


@dataclass
class _Address:
    recorded_at: deque[float] = field(default_factory=deque)
    suppressed: int = 0


class IncidentLimit:
    """Says which incidents are recorded, and counts the others. Safe to share between threads.

    `now_seconds` is a clock that never goes back.
    """

    def __init__(self, now_seconds: Callable[[], float] = time.monotonic) -> None:
        self._now_seconds = now_seconds
        self._lock = threading.Lock()
        self._addresses: OrderedDict[str, _Address] = OrderedDict()
        self._recorded_at: deque[float] = deque()

    def admit(self, ip_address: str | None) -> int | None:
        """None when an incident of this address is not to be recorded. Otherwise how many of its
        incidents were not, since the last one that was."""
        with self._lock:
            now = self._now_seconds()
            address = self._address(ip_address or "")
            _forget_before(now - WINDOW_SECONDS, address.recorded_at)
            _forget_before(now - WINDOW_SECONDS, self._recorded_at)
            is_quiet = len(address.recorded_at) < PER_ADDRESS_MAX
            if not (is_quiet and len(self._recorded_at) < IN_ALL_MAX):
                address.suppressed += 1
                return None
            address.recorded_at.append(now)
            self._recorded_at.append(now)
            suppressed, address.suppressed = address.suppressed, 0
            return suppressed

    def _address(self, name: str) -> _Address:
        address = self._addresses.setdefault(name, _Address())
        self._addresses.move_to_end(name)
        if len(self._addresses) > ADDRESSES_MAX:
            self._addresses.popitem(last=False)
        return address


def _forget_before(moment: float, times: deque[float]) -> None:
    while times and times[0] <= moment:
        times.popleft()
