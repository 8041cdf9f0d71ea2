"""Something that looks like an attempt to deceive us, kept for the people who watch."""

from typing import Any
from uuid import UUID

from domain.event import PaymentEventType, PaySagaAggregate, Priority


class SecurityIncident(PaySagaAggregate):
    """One suspicious fact (contract 6, `security.event`)."""

    class Recorded(PaySagaAggregate.Created):
        event_type = PaymentEventType.SECURITY_EVENT
        priority = Priority.CRITICAL
        kind: str
        severity: str
        ip_address: str | None
        detail: dict[str, Any]

    def __init__(self, kind: str) -> None:
        self.kind = kind

    @classmethod
    def record(
        cls,
        incident_id: UUID,
        *,
        kind: str,
        severity: str,
        ip_address: str | None,
        detail: dict[str, Any],
    ) -> "SecurityIncident":
        """Records an incident; `severity` is `low`, `medium` or `high`."""
        return cls._create(
            cls.Recorded,
            id=incident_id,
            kind=kind,
            severity=severity,
            ip_address=ip_address,
            detail=detail,
        )
