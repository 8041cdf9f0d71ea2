"""Records messages that only pretend to be the gateway's, within limits."""

from flask import request

from interface.web.context import web


def note_wrong_signature(kind: str, reason: str) -> None:
    """Records a security event with the sender's address and the reason, unless too many of them
    were recorded lately (see `IncidentLimit`)."""
    suppressed = web().incident_limit.admit(request.remote_addr)
    if suppressed is None:
        return
    detail = {"reason": reason} | ({"suppressed": suppressed} if suppressed else {})
    web().applications.operations.record_incident(kind, "high", request.remote_addr, detail)
