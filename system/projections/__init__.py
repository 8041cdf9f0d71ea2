"""Read models: pure functions from events to row changes (design 6)."""
