"""Pages of the lists that show what is newest first: where one begins, and where the next does."""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from application.envelope import timestamp
from interface.web.models import PageQuery
from interface.web.problems import invalid
from system.persistence.payment_queries import Place

Row = Mapping[str, Any]


@dataclass(frozen=True)
class RowPage:
    """The rows of a page, and the cursor of the next one; None on the last."""

    rows: Sequence[Row]
    next_cursor: str | None


def page_of(
    query: PageQuery, find: Callable[[int, Place | None], Sequence[Row]], by: tuple[str, str]
) -> RowPage:
    """The page of a list that was asked for. `find` reads so many rows after a place in the order
    of the two columns `by`, a time and an id. One row more than shown is read: it tells whether
    there is another page.

    Raises:
        Problem: the cursor is not one that we gave out.
    """
    rows = find(query.limit + 1, _place_of(query.cursor) if query.cursor else None)
    page = rows[: query.limit]
    if len(rows) <= query.limit:
        return RowPage(page, None)
    moment, row_id = (page[-1][column] for column in by)
    return RowPage(page, _cursor_of(moment, row_id))


def _cursor_of(moment: datetime, row_id: UUID) -> str:
    place = f"{timestamp(moment)}|{row_id}"
    return base64.urlsafe_b64encode(place.encode()).decode()


def _place_of(cursor: str) -> Place:
    try:
        moment, _, row_id = base64.urlsafe_b64decode(cursor).decode().partition("|")
        return Place(datetime.fromisoformat(moment), UUID(row_id))
    except ValueError:
        raise invalid("/cursor", "send the nextCursor of an earlier answer as it came") from None
