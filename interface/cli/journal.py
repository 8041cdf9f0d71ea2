"""The commands `paysaga journal`: the proof that nothing was altered, and events to take away."""

import csv
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import click
from eventsourcing.persistence import PersistenceError

from application.envelope import camel_case, timestamp
from application.journal import Link, opened_envelope
from application.vault import Vault
from domain.event import PaymentEventType
from interface.cli.failures import VERIFY, CommandFailed
from interface.cli.moment import MomentType
from interface.cli.operators_database import operators_database
from interface.cli.progress import progress_bar
from interface.cli.showing import printable, show_json
from interface.json_text import write_json
from system.finance import BooksIncomplete, DailyTotals, daily_totals
from system.journal_check import JournalCheck, Verdict
from system.persistence.journal_queries import EntryFilter, JournalQueries

CSV_COLUMNS = (
    *("position", "id", "type", "timestamp", "priority", "correlationId", "causationId"),
    *("aggregateId", "aggregateType", "aggregateVersion", "source", "userId", "data"),
    *("version", "sessionId", "ipAddress", "userAgent", "traceId", "spanId"),
)
FINANCE_COLUMNS = tuple(camel_case(field.name) for field in fields(DailyTotals))
FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")
"""A cell that begins so would be run as a formula by a spreadsheet."""

T = TypeVar("T")


class LinkType(click.ParamType[Link]):
    """`POSITION:HASH`."""

    name = "POSITION:HASH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Link:
        """See `click.ParamType`."""
        try:
            return Link.parse(str(value))
        except ValueError:
            self.fail("expected POSITION:HASH as `paysaga journal head` prints it", param, ctx)


@click.group()
def journal() -> None:
    """Check, anchor and export the journal of all events."""


@journal.command()
@click.option("--expect", type=LinkType(), help="A head that was kept elsewhere.")
@click.option("--deep", is_flag=True, help="Also make every envelope anew from its log.")
@click.option("--json", "is_json", is_flag=True, help="Print the verdict as JSON.")
def verify(expect: Link | None, deep: bool, is_json: bool) -> None:
    """Check the chain of hashes and compare it with the logs.

    Names the first entry that was altered, removed, inserted or cut off at the end.
    """
    with operators_database() as (persistence, applications), progress_bar("verify") as tell:
        verdict = JournalCheck(persistence, applications, expected=expect, deep=deep).run(tell)
    if is_json:
        show_json(write_json(_document(verdict)))
    elif verdict.is_ok:
        click.echo(f"sound: {verdict.entries} entries, head {verdict.head}")
        if verdict.set_aside:
            click.echo(f"without {verdict.set_aside} events set aside: see `paysaga parked list`")
    broken = verdict.first_broken
    if broken is not None:
        told = f"entry {broken.position}: {broken.damage.value}: {broken.detail}"
        raise CommandFailed(told, "keep a copy of the database as it is before anything else")


def _document(verdict: Verdict) -> dict[str, Any]:
    broken = asdict(verdict.first_broken) if verdict.first_broken else None
    return {
        "ok": verdict.is_ok,
        "entries": verdict.entries,
        "head": str(verdict.head),
        "setAside": verdict.set_aside,
        "firstBroken": {camel_case(name): value for name, value in broken.items()}
        if broken
        else None,
    }


@journal.command()
@click.option("--json", "is_json", is_flag=True, help="Print the head as JSON.")
def head(is_json: bool) -> None:
    """Print the newest entry's position and hash.

    Keep it where nobody who can write to the database can change it, and give it to `verify`.
    """
    with operators_database() as (persistence, _):
        link = persistence.journal_head()
    if is_json:
        show_json(write_json({"position": link.position, "hash": link.hash.hex()}))
    else:
        click.echo(str(link))


since = click.option("--from", "begin", type=MomentType(), help="Only events from this time on.")
until = click.option("--to", "end", type=MomentType(), help="Only events before this time.")
as_form = click.option(
    "--format", "form", type=click.Choice(["jsonl", "csv"]), default="jsonl", show_default=True
)


@journal.command()
@since
@until
@click.option(
    "--type",
    "event_type",
    type=click.Choice([each.value for each in PaymentEventType]),
    metavar="TYPE",
    help="Only this public type, such as payment.completed.",
)
@click.option("--payment", type=click.UUID, help="Only what belongs to this payment.")
@as_form
def export(
    begin: datetime | None,
    end: datetime | None,
    event_type: str | None,
    payment: UUID | None,
    form: str,
) -> None:
    """Print events, oldest first, one on a line."""
    wanted = EntryFilter(
        type=event_type,
        subject_id=payment,
        timestamp_from=timestamp(begin) if begin else None,
        timestamp_to=timestamp(end) if end else None,
    )
    with operators_database() as (persistence, applications):
        rows = JournalQueries(persistence).all(wanted)
        if form == "csv":
            _write_csv(CSV_COLUMNS, _exported(rows, applications.vault, _flat))
        else:
            _write_lines(_exported(rows, applications.vault, write_json))


@journal.command()
@since
@until
@as_form
def finance(begin: datetime | None, end: datetime | None, form: str) -> None:
    """Print what was settled, refunded and taken as fees, per day (UTC) and currency.

    Added up from the events, one line for each day and currency in which money moved.
    """
    with operators_database() as (persistence, applications):
        try:
            documents = (
                {camel_case(name): value for name, value in vars(each).items()}
                for each in daily_totals(persistence, applications, begin, end)
            )
            if form == "csv":
                _write_csv(FINANCE_COLUMNS, documents)
            else:
                _write_lines(map(write_json, documents))
        except BooksIncomplete as incomplete:
            raise CommandFailed(str(incomplete)) from None


def _exported(
    rows: Iterator[dict[str, Any]], vault: Vault, form: Callable[[dict[str, Any]], T]
) -> Iterator[T]:
    """Entries in the form in which they are exported.

    Raises:
        CommandFailed: an envelope is none; what comes before it is exported.
    """
    for row in rows:
        try:
            document = opened_envelope(row["envelope"], vault, "PROCESSED")
            del document["status"]
            exported = form({"position": row["position"], **document})
        except PersistenceError:
            raise
        except Exception as error:
            reason = printable(f"{type(error).__name__}: {error}")
            told = f"entry {row['position']}: its envelope cannot be read: {reason}"
            raise CommandFailed(told, VERIFY) from error
        yield exported


def _write_lines(lines: Iterator[bytes]) -> None:
    sys.stdout.flush()
    for line in lines:
        sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


def _write_csv(columns: Sequence[str], documents: Iterator[dict[str, Any]]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    for document in documents:
        writer.writerow([_cell(document[name]) for name in columns])


def _flat(document: dict[str, Any]) -> dict[str, Any]:
    data = write_json(document["data"]).decode()
    members = {**document, **document["metadata"], "data": data}
    return {name: members[name] for name in CSV_COLUMNS}


def _cell(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(FORMULA_SIGNS):
        return f"'{value}"
    return value
