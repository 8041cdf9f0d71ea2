"""How a process fared within a window of time, kept for people who look back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

from domain.event import PaymentEventType, PaySagaAggregate, Priority


@dataclass(frozen=True)
class Figure:
    """One figure: its name, its value in `unit`, and what it is about. One that is `always_told`
    is recorded although it is and was zero: it shows that the process lives."""

    name: str
    value: float
    unit: str
    labels: Mapping[str, str] = field(default_factory=dict)
    always_told: bool = False


class PerformanceMetric(PaySagaAggregate):
    """One figure of one process (contract 6, `performance.metric`)."""

    class Recorded(PaySagaAggregate.Created):
        event_type = PaymentEventType.PERFORMANCE_METRIC
        priority = Priority.LOW
        name: str
        value: float
        unit: str
        labels: dict[str, str]
        window_ms: int
        """The time that the figure is about, up to the event's own."""

    def __init__(self, name: str) -> None:
        self.name = name

    @classmethod
    def record(cls, metric_id: UUID, figure: Figure, window_ms: int) -> "PerformanceMetric":
        """Records a figure about the last `window_ms`."""
        return cls._create(
            cls.Recorded,
            id=metric_id,
            name=figure.name,
            value=figure.value,
            unit=figure.unit,
            labels=dict(figure.labels),
            window_ms=window_ms,
        )
