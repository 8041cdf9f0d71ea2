"""Pages of the lists that are read from views: where one begins, and where the next does."""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from application.envelope import timestamp
from interface.web.models import PageQuery
from interface.web.problems import invalid
from system.persistence.payment_queries import Place

Row = Mapping[str, Any]
P = TypeVar("P")


@dataclass(frozen=True)
class RowPage:
    """The rows of a page, and the cursor of the next one; None on the last."""

    rows: Sequence[Row]
    next_cursor: str | None


def page_of(
    query: PageQuery, find: Callable[[int, Place | None], Sequence[Row]], by: tuple[str, str]
) -> RowPage:
    """The page that was asked for of a list with the newest first. `find` reads so many rows after
    a place in the order of the two columns `by`, a time and an id.

    Raises:
        Problem: the cursor is not one that we gave out.
    """
    moment, row_id = by
    return ordered_page(
        query, find, _place_of, lambda row: f"{timestamp(row[moment])}|{row[row_id]}"
    )


def ordered_page(
    query: PageQuery,
    find: Callable[[int, P | None], Sequence[Row]],
    place_of: Callable[[str], P],
    text_of: Callable[[Row], str],
) -> RowPage:
    """The page of a list in any order. `text_of` writes the place of a row in that order, and
    `place_of` reads it again, with a ValueError when it is none. One row more than shown is read:
    it tells whether there is another page.

    Raises:
        Problem: the cursor is not one that we gave out.
    """
    after = _read(query.cursor, place_of) if query.cursor else None
    rows = find(query.limit + 1, after)
    page = rows[: query.limit]
    if len(rows) <= query.limit:
        return RowPage(page, None)
    return RowPage(page, base64.urlsafe_b64encode(text_of(page[-1]).encode()).decode())


def _read(cursor: str, place_of: Callable[[str], P]) -> P:
    try:
        return place_of(base64.urlsafe_b64decode(cursor).decode())
    except ValueError:
        raise invalid("/cursor", "send the nextCursor of an earlier answer as it came") from None


def _place_of(text: str) -> Place:
    moment, _, row_id = text.partition("|")
    return Place(datetime.fromisoformat(moment), UUID(row_id))
