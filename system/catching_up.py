"""Waits until a follower has taken in what its logs hold."""

import time
from collections.abc import Iterable
from typing import Any

from application.event_log import EventLog
from system.followers.base import BatchFollower

PAUSE_SECONDS = 0.05


def catches_up(follower: BatchFollower, logs: Iterable[EventLog[Any]], seconds_max: float) -> bool:
    """True as soon as the follower has taken in everything that the logs hold now; False when it
    did not in time."""
    heads = {log.name: log.recorder.max_notification_id() or 0 for log in logs}
    deadline = time.monotonic() + seconds_max
    while any((follower.recorder.max_tracking_id(log) or 0) < at for log, at in heads.items()):
        if time.monotonic() > deadline:
            return False
        time.sleep(PAUSE_SECONDS)
    return True
