"""The commands `paysaga journal`: the proof that nothing was altered, and events to take away."""

import csv
import sys
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

import click

from application.envelope import camel_case, timestamp
from application.journal import Link, opened_envelope
from application.vault import Vault
from interface.cli.failures import CommandFailed
from interface.cli.moment import MomentType
from interface.cli.operators_database import operators_database
from interface.cli.progress import progress_bar
from interface.cli.showing import show_json
from interface.json_text import write_json
from system.journal_check import JournalCheck, Verdict
from system.persistence.journal_queries import EntryFilter, JournalQueries

CSV_COLUMNS = (
    *("position", "id", "type", "timestamp", "priority", "correlationId", "causationId"),
    *("aggregateId", "aggregateType", "aggregateVersion", "source", "userId", "data"),
)
FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")
"""A cell that begins so would be run as a formula by a spreadsheet."""


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


@journal.command()
@click.option("--from", "begin", type=MomentType(), help="Only events from this time on.")
@click.option("--to", "end", type=MomentType(), help="Only events before this time.")
@click.option("--type", "event_type", help="Only this public type, such as payment.completed.")
@click.option("--payment", type=click.UUID, help="Only what belongs to this payment.")
@click.option(
    "--format", "form", type=click.Choice(["jsonl", "csv"]), default="jsonl", show_default=True
)
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
        documents = _documents(JournalQueries(persistence), wanted, applications.vault)
        _write_csv(documents) if form == "csv" else _write_lines(documents)


def _documents(
    queries: JournalQueries, wanted: EntryFilter, vault: Vault
) -> Iterator[dict[str, Any]]:
    for row in queries.all(wanted):
        document = opened_envelope(row["envelope"], vault, "PROCESSED")
        del document["status"]
        yield {"position": row["position"], **document}


def _write_lines(documents: Iterator[dict[str, Any]]) -> None:
    sys.stdout.flush()
    for document in documents:
        sys.stdout.buffer.write(write_json(document) + b"\n")
    sys.stdout.buffer.flush()


def _write_csv(documents: Iterator[dict[str, Any]]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for document in documents:
        flat = {**document, **document["metadata"], "data": write_json(document["data"]).decode()}
        writer.writerow([_cell(flat[name]) for name in CSV_COLUMNS])


def _cell(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(FORMULA_SIGNS):
        return f"'{value}"
    return value
