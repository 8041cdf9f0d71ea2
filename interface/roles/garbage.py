"""How often long-lived processes look for garbage."""

import gc

ALLOCATIONS_BEFORE_A_LOOK = 20_000
LOOKS_BEFORE_A_LONGER_ONE = 20


def look_for_garbage_seldom() -> None:
    """Call it when a process has started. What is there by then stays: it is not looked at again.
    Requests and events leave few cycles behind, and Python would look for them every 700
    allocations, which costs a twentieth of all time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(
        ALLOCATIONS_BEFORE_A_LOOK, LOOKS_BEFORE_A_LONGER_ONE, LOOKS_BEFORE_A_LONGER_ONE
    )
