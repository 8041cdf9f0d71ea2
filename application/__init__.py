"""Eventsourcing applications, one per event log, with their commands and the ports they need."""
