"""Proves that the journal and the logs are what was once written, or names what is not (design 6).

The chain shows what was done to the journal without writing it anew from there on. The digests of
what is recorded show what was done to the logs. Who writes the whole chain anew is found by a
head that was kept elsewhere, or by making every envelope again (`deep`).
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from eventsourcing.persistence import Notification
from psycopg.sql import SQL, Identifier

from application.event_log import EventLog
from application.journal import (
    BEGINNING,
    Entry,
    Link,
    entry_of,
    hash_after,
    record_digest,
    record_hash,
)
from system.applications import Applications
from system.parking import subject_of
from system.persistence.postgres import PostgresPersistence

PAGE_SIZE = 2000
"""The most entries that are held at once."""
PASSED_OVER_MAX = 1000
"""The most events that are remembered as passed over: they are parked, or something is wrong."""

NOTHING_READ = -(2**63) - 1
"""The position before every one that a log can have: an event may have been put below the first."""

START = """
SELECT coalesce((SELECT max(position) FROM journal), 0) AS head,
    (SELECT min(position) FROM journal WHERE position < 1) AS below,
    (SELECT coalesce(jsonb_object_agg(application_name, notification_id), '{}')
     FROM journal_tracking) AS reached,
    (SELECT coalesce(jsonb_agg(jsonb_build_array(leader, position)), '[]')
     FROM parked_events WHERE follower = 'Journal') AS parked
"""
"""All in one statement, so that they belong together."""

PAGE = """
SELECT position, hash, log, log_position, record_hash, event_id::text,
    convert_to(concat_ws(E'\\n', log, log_position, encode(record_hash, 'hex'), event_id, type,
        aggregate_id, subject_id, correlation_id, timestamp, envelope), 'UTF8') AS content
FROM journal WHERE position > %s AND position <= %s ORDER BY position LIMIT %s
"""
RECORDS = SQL(
    "SELECT notification_id, uuid_send(originator_id), originator_version, topic, state FROM {} "
    "WHERE notification_id >= %s AND notification_id <= %s ORDER BY notification_id LIMIT %s"
)
"""Hashed here and not in the database, whose own SHA-256 takes several times as long."""

Progress = Callable[[int, int], None]
"""Told how many entries are checked, and how many there are to check."""

Place = tuple[str, int]
"""A log and a position in it."""

Record = tuple[int, bytes]
"""A position in a log, and the digest of what is recorded there."""

Records = dict[str, deque[Record]]


class Damage(StrEnum):
    """What happened to an entry, or to the event that it tells of."""

    ALTERED = "altered"
    REMOVED = "removed"
    INSERTED = "inserted"
    CUT_OFF = "cut_off"
    ALTERED_IN_LOG = "altered_in_log"
    REMOVED_FROM_LOG = "removed_from_log"
    INSERTED_IN_LOG = "inserted_in_log"


@dataclass(frozen=True)
class Broken:
    """The first entry that is not as it was; `position` is where it stands or should stand."""

    position: int
    damage: Damage
    event_id: str | None
    detail: str


@dataclass(frozen=True)
class Verdict:
    """What a check came to: how many entries are sound from the first on, the last of them, the
    first that is not, and how many events have no entry because they are said to be parked."""

    entries: int
    head: Link
    first_broken: Broken | None
    set_aside: int

    @property
    def is_ok(self) -> bool:
        """True when nothing was found."""
        return self.first_broken is None


class Line(NamedTuple):
    """An entry as it is read for checking."""

    position: int
    hash: bytes
    log: str
    log_position: int
    record_hash: bytes
    event_id: str
    content: bytes

    @property
    def place(self) -> Place:
        """Where the event is recorded."""
        return (self.log, self.log_position)

    def broken(self, damage: Damage, detail: str) -> Broken:
        """Says that something happened to this entry."""
        return Broken(self.position, damage, self.event_id, detail)


class JournalCheck:
    """One check, from the first entry to the newest one there is when it begins.

    Args:
        expected: a link of the chain that was kept elsewhere.
        deep: also makes every envelope anew from its log; takes about three times as long.
    """

    def __init__(
        self,
        persistence: PostgresPersistence,
        applications: Applications,
        *,
        expected: Link | None = None,
        deep: bool = False,
    ) -> None:
        self._persistence = persistence
        self._applications = applications
        self._expected = expected
        self._deep = deep
        self._last: Line | None = None
        self._read_to: dict[str, int] = {}
        self._passed_over: dict[Place, int] = {}

    def _reached_in(self, log: str) -> int:
        """The position up to which a log was read."""
        return self._read_to.get(log, NOTHING_READ)

    @property
    def _link(self) -> Link:
        """The newest link that is sound."""
        return Link(self._last.position, self._last.hash) if self._last else BEGINNING

    def run(self, progress: Progress = lambda _done, _total: None) -> Verdict:
        """Checks everything, or up to the first damage."""
        with self._persistence.connection() as connection:
            [start] = connection.execute(START).fetchall()
        total = start["head"]
        self._reached = {log: position or 0 for log, position in start["reached"].items()}
        self._parked = {(log, position) for log, position in start["parked"]}
        broken = self._below(start["below"])
        while broken is None and self._link.position < total:
            broken = self._check_page(self._page(total), total)
            progress(self._link.position, total)
        broken = broken or self._check_end()
        return Verdict(self._link.position, self._link, broken, len(self._parked))

    def _below(self, position: int | None) -> Broken | None:
        """An entry before the first, which is no part of the chain and found by its event's id."""
        if position is None:
            return None
        return Broken(position, Damage.INSERTED, None, "the first entry is number 1")

    def _check_page(self, page: Sequence[Line], total: int) -> Broken | None:
        """Goes on to the end of the page, or to the entry before the first broken one."""
        if not page:
            return self._gap(total)
        sound = page[: self._sound(page)]
        records = self._records(sound)
        for number, line in enumerate(sound, 1):
            follows = number < len(sound) or len(sound) == len(page)
            broken = self._check_line(line, records, follows=follows)
            if broken is not None:
                return broken
            self._last = line
        if len(sound) < len(page):
            return self._diagnosis(page[len(sound)])
        return self._deep_difference(sound) if self._deep else None

    def _sound(self, page: Sequence[Line]) -> int:
        """How many of the page's entries fit the chain, up to the first that does not."""
        before, digest = self._link.position, self._link.hash
        for number, line in enumerate(page):
            position = before + number + 1
            digest = hash_after(position, digest, line.content)
            if position != line.position or digest != line.hash:
                return number
        return len(page)

    def _check_line(self, line: Line, records: Records, *, follows: bool) -> Broken | None:
        """Compares an entry whose hash is right with its log."""
        if line.log_position <= self._reached_in(line.log):
            return self._check_late(line)
        recorded = self._next_record(line, records[line.log])
        self._read_to[line.log] = line.log_position
        if recorded is None:
            return self._not_in_log(line, follows=follows)
        if recorded != line.record_hash:
            return line.broken(Damage.ALTERED_IN_LOG, f"{_told(line.place)} is not what it was")
        return self._unexpected(line)

    def _unexpected(self, line: Line) -> Broken | None:
        expected = self._expected
        if expected is None or expected.position != line.position or expected.hash == line.hash:
            return None
        gap = self._first_passed_over()
        if gap is not None:
            place, position = gap
            detail = f"{_told(place)} had an entry: the chain was cut off and written on"
            return Broken(position, Damage.CUT_OFF, None, detail)
        detail = f"the chain was written anew: the hash that was kept is {expected.hash.hex()}"
        return self._first_difference(line.position) or line.broken(Damage.ALTERED, detail)

    def _first_passed_over(self) -> tuple[Place, int] | None:
        """The first event without an entry though later ones of its log have one, and the entry
        before which its own should stand."""
        passed_over = {p: at for p, at in self._passed_over.items() if p not in self._parked}
        return min(passed_over.items(), key=lambda item: item[1], default=None)

    def _check_late(self, line: Line) -> Broken | None:
        """An event that was parked when its turn came stands further behind than others."""
        if self._passed_over.pop(line.place, None) is None:
            return line.broken(Damage.INSERTED, f"{_told(line.place)} has an entry before this one")
        if self._record(line) != line.record_hash:
            return line.broken(Damage.ALTERED_IN_LOG, f"{_told(line.place)} is not what it was")
        return None

    def _next_record(self, line: Line, records: deque[Record]) -> bytes | None:
        """The digest of the entry's event. Those before it in the log, which have no entry so far,
        are remembered."""
        while records and records[0][0] < line.log_position:
            position, _ = records.popleft()
            if len(self._passed_over) < PASSED_OVER_MAX:
                self._passed_over[line.log, position] = line.position
        is_next = bool(records) and records[0][0] == line.log_position
        return records.popleft()[1] if is_next else None

    def _not_in_log(self, line: Line, *, follows: bool) -> Broken:
        if not follows or line.log_position > self._reached.get(line.log, 0):
            return line.broken(Damage.INSERTED, f"{_told(line.place)} does not exist")
        detail = f"{_told(line.place)} is gone"
        return line.broken(Damage.REMOVED_FROM_LOG, detail)

    def _gap(self, total: int) -> Broken:
        position = self._link.position + 1
        return Broken(position, Damage.REMOVED, None, f"entries {position} to {total} are gone")

    def _diagnosis(self, line: Line) -> Broken:
        """What happened where the chain is broken: at this entry, or at the one before."""
        position = self._link.position + 1
        if line.position != position:
            return self._gap(line.position - 1)
        is_known = line.log_position <= self._reached_in(line.log)
        recorded = self._record(line)
        if recorded is None or (is_known and line.place not in self._passed_over):
            return line.broken(Damage.INSERTED, f"{_told(line.place)} is not what it tells of")
        if self._last is not None and self._differs(self._last):
            return self._last.broken(Damage.ALTERED, "the envelope is not that of its event")
        left_out = self._first_left_out(line.log, line.log_position - 1)
        is_whole = recorded == line.record_hash and not self._differs(line)
        if left_out is not None and is_whole:
            detail = f"the entry of {_told(left_out)} is gone"
            return Broken(position, Damage.REMOVED, None, detail)
        return line.broken(Damage.ALTERED, "its hash does not follow from it and the one before")

    def _check_end(self) -> Broken | None:
        """What the logs hold that the journal should have; and what was expected of it."""
        passed_over = self._first_passed_over()
        if passed_over is not None:
            place, position = passed_over
            detail = f"{_told(place)} has no entry: it was inserted, or its entry removed"
            return Broken(position, Damage.INSERTED_IN_LOG, None, detail)
        if self._last is not None and self._differs(self._last):
            return self._last.broken(Damage.ALTERED, "the envelope is not that of its event")
        return self._cut_off()

    def _cut_off(self) -> Broken | None:
        position = self._link.position + 1
        for log in self._applications.by_name:
            left_out = self._first_left_out(log, self._reached.get(log, 0))
            if left_out is not None:
                detail = f"{_told(left_out)} had an entry, and has none any more"
                return Broken(position, Damage.CUT_OFF, None, detail)
        if self._expected is not None and self._expected.position >= position:
            detail = f"there were {self._expected.position} entries"
            return Broken(position, Damage.CUT_OFF, None, detail)
        return None

    def _first_left_out(self, log: str, last: int) -> Place | None:
        """The first event without an entry, from where the log was read to up to `last`."""
        rows = self._record_rows(log, self._reached_in(log), last, PASSED_OVER_MAX)
        places = ((log, position) for position, _ in rows)
        return next((place for place in places if place not in self._parked), None)

    def _first_difference(self, last: int) -> Broken | None:
        """The first entry that does not tell of its event, searched from the beginning."""
        position = 0
        while page := self._lines(position, last):
            broken = self._deep_difference(page)
            if broken is not None:
                return broken
            position = page[-1].position
        return None

    def _deep_difference(self, page: Sequence[Line]) -> Broken | None:
        for line in page:
            if self._differs(line):
                return line.broken(Damage.ALTERED, "the envelope is not that of its event")
        return None

    def _differs(self, line: Line) -> bool:
        """True when the entry does not tell what its log tells."""
        log = self._applications.by_name.get(line.log)
        found = log.recorder.select_notifications(line.log_position, limit=1) if log else ()
        if log is None or not found or found[0].id != line.log_position:
            return False
        entry = _entry_made_anew(log, found[0])
        return entry is None or entry.content != line.content

    def _page(self, total: int) -> list[Line]:
        return self._lines(self._link.position, total)

    def _lines(self, after: int, last: int) -> list[Line]:
        with self._persistence.connection() as connection:
            cursor = connection.cursor(row_factory=_line)
            return cursor.execute(PAGE, (after, last, PAGE_SIZE), binary=True).fetchall()

    def _records(self, lines: Sequence[Line]) -> Records:
        """The digests of what is recorded, from where each log was read to up to these lines."""
        last: dict[str, int] = {}
        for line in lines:
            last[line.log] = max(last.get(line.log, 0), line.log_position)
        limit = len(lines) + PASSED_OVER_MAX
        return {
            log: deque(self._record_rows(log, self._reached_in(log), position, limit))
            for log, position in last.items()
        }

    def _record(self, line: Line) -> bytes | None:
        """The digest of the one event of an entry."""
        found = self._record_rows(line.log, line.log_position - 1, line.log_position, 1)
        return found[0][1] if found else None

    def _record_rows(self, log: str, after: int, last: int, limit: int) -> list[Record]:
        if log not in self._applications.by_name:
            return []
        statement = RECORDS.format(Identifier(f"{log.lower()}_events"))
        with self._persistence.connection() as connection:
            cursor = connection.cursor(row_factory=_recorded)
            return cursor.execute(statement, (after + 1, last, limit), binary=True).fetchall()


def _line(_cursor: Any) -> Callable[[Sequence[Any]], Line]:
    return Line._make


def _recorded(_cursor: Any) -> Callable[[Sequence[Any]], Record]:
    return lambda values: (values[0], _digest(*values[1:]))


def _digest(aggregate_id: bytes, version: int, topic: str | None, state: bytes | None) -> bytes:
    """The digest of what is recorded, or none at all where no event can be."""
    if version < 0 or topic is None or state is None:
        return b""
    return record_digest(aggregate_id, version, topic, state)


def _entry_made_anew(log: EventLog[Any], recorded: Notification) -> Entry | None:
    """The entry that an event asks for, or None when it cannot be read."""
    try:
        event: Any = log.mapper.to_domain_event(recorded)
        subject_id = subject_of(event)
    except Exception:  # noqa: BLE001  what cannot be read is damage, whatever keeps it from it
        return None
    return entry_of(event, subject_id, log.name, recorded.id, record_hash(recorded))


def _told(place: Place) -> str:
    return f"the event at position {place[1]} of the log {place[0]}"
