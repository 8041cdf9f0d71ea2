"""The business of taking payments: aggregates, their events, value objects and pure rules."""
