"""The HTTP interface: nothing in here but HTTP."""
