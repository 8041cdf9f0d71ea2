"""A time as it is given on the command line."""

from datetime import UTC, datetime
from typing import Any

import click


class MomentType(click.ParamType[datetime]):
    """A time of RFC 3339, or a date (its first moment in UTC)."""

    name = "TIME"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """See `click.ParamType`."""
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail("expected a time such as 2026-11-01T09:30:00Z, or a date", param, ctx)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
