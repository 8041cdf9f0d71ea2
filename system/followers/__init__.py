"""The followers of event logs: what each makes of what the others record."""
