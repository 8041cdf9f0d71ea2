"""The log of what operators and auditors watch: security events, for now."""

from typing import Any
from uuid import UUID

from application.event_log import EventLog
from application.ports import Clock, Ids, Persistence
from domain.security_incident import SecurityIncident


class Operations(EventLog[SecurityIncident]):
    """Holds `SecurityIncident`."""

    name = "Operations"

    def __init__(self, persistence: Persistence, clock: Clock, ids: Ids) -> None:
        super().__init__(persistence, clock)
        self.ids = ids

    def record_incident(
        self, kind: str, severity: str, ip_address: str | None, detail: dict[str, Any]
    ) -> UUID:
        """Records something suspicious; `severity` is `low`, `medium` or `high`."""
        incident = SecurityIncident.record(
            self.ids.uuid(), kind=kind, severity=severity, ip_address=ip_address, detail=detail
        )
        self.record(incident)
        return incident.id
