"""The command `paysaga replay`: past states from the events alone, and the proof of the views."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

import click
from eventsourcing.application import AggregateNotFoundError

from application.envelope import envelope, public_record, public_value
from application.vault import Vault
from interface.cli.failures import VERIFY, CommandFailed
from interface.cli.moment import MomentType
from interface.cli.operators_database import operators_database
from interface.cli.progress import progress_bar
from interface.cli.showing import printable, show_fields, show_json
from interface.json_text import write_json
from interface.web.documents import payment_document
from system.replay import Change, Happening, Story, story_of
from system.replay_check import Difference, Finding, NotReplayed, ReplayCheck
from system.replaying import ReplayImpossible, replaying

FINDINGS_MAX = 1000
"""So many are printed; afterwards they are only counted."""


@click.command()
@click.argument("payment_id", type=click.UUID, required=False)
@click.option("--version", type=click.IntRange(min=1), help="As it was at this version.")
@click.option("--as-of", type=MomentType(), help="As it was at this time.")
@click.option("--all", "is_all", is_flag=True, help="Replay everything; with --check.")
@click.option("--check", "is_check", is_flag=True, help="Compare with the read models.")
@click.option("--json", "is_json", is_flag=True, help="Print JSON.")
def replay(
    payment_id: UUID | None,
    version: int | None,
    as_of: datetime | None,
    is_all: bool,
    is_check: bool,
    is_json: bool,
) -> None:
    """Rebuild a payment from its events and print its state and its history.

    The history is a tree: under each event stands what it caused. `--all --check` replays every
    aggregate of every log instead and names each row of a read model that shows something else.
    """
    if is_all or is_check:
        _require(
            is_all and is_check and payment_id is None, "use --all and --check together, alone"
        )
        _require(version is None and as_of is None, "--all replays everything as it is now")
        _check_all(is_json)
        return
    _require(payment_id is not None, "name a payment, or use --all --check")
    _require(version is None or as_of is None, "give either --version or --as-of")
    assert payment_id is not None
    _tell(payment_id, version, as_of, is_json)


def _require(is_right: bool, advice: str) -> None:
    if not is_right:
        raise click.UsageError(advice)


def _tell(payment_id: UUID, version: int | None, as_of: datetime | None, is_json: bool) -> None:
    with operators_database() as (_, applications):
        try:
            story = story_of(applications, payment_id, version=version, as_of=as_of)
            with replaying(applications.payments, payment_id):
                show = _in_words(story, applications.vault, is_json)
        except AggregateNotFoundError:
            raise CommandFailed(
                f"there is no payment {payment_id}, or was none then",
                "see `paysaga payments list`",
            ) from None
        except ReplayImpossible as impossible:
            raise CommandFailed(printable(impossible), VERIFY) from None
        show()


def _in_words(story: Story, vault: Vault, is_json: bool) -> Callable[[], None]:
    """What prints the story, with all that is made of its events made already."""
    saga_status = story.saga.status if story.saga else None
    document = payment_document(story.payment, vault, saga_status)
    if is_json:
        history = [
            {
                "event": envelope(happening.event, vault, "PROCESSED"),
                "changes": [asdict(change) for change in happening.changes],
            }
            for happening in story.happenings
        ]
        return partial(show_json, write_json({"payment": document, "history": history}))
    state = {
        name: write_json(value).decode() if isinstance(value, dict | list) else value
        for name, value in document.items()
    }
    return partial(_show_story, state, list(_lines(story.roots)))


def _show_story(state: dict[str, Any], lines: list[str]) -> None:
    show_fields(state)
    click.echo("")
    for line in lines:
        click.echo(line)


def _lines(happenings: tuple[Happening, ...]) -> Iterator[str]:
    """The tree, line by line; however deep it is."""
    waiting: list[tuple[Happening, int]] = [(each, 0) for each in reversed(happenings)]
    while waiting:
        happening, depth = waiting.pop()
        indent = "  " * depth
        event = happening.event
        aggregate = type(event).__qualname__.split(".")[0]
        yield (
            f"{public_value(event.timestamp, str)}  {indent}{event.event_type.value}  "
            f"{aggregate} v{event.originator_version}  {_actor(happening)}"
        )
        for change in happening.changes:
            yield f"{' ' * 29}{indent}  {_change(change)}"
        waiting.extend((effect, depth + 1) for effect in reversed(happening.effects))


def _actor(happening: Happening) -> str:
    metadata = happening.event.metadata
    who = f" ({metadata.user_id})" if metadata.user_id and metadata.causation_id is None else ""
    return printable(f"by {metadata.source or 'unknown'}{who}")


def _change(change: Change) -> str:
    if change.before is None:
        return printable(f"{change.path}: {_text(change.after)}")
    return printable(f"{change.path}: {_text(change.before)} -> {_text(change.after)}")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else write_json(value).decode()


def _check_all(is_json: bool) -> None:
    found: Counter[type[Finding]] = Counter()
    with operators_database() as (persistence, applications), progress_bar("replay") as tell:
        check = ReplayCheck(persistence, applications)
        for finding in check.run(tell):
            if found.total() < FINDINGS_MAX:
                _show_finding(finding, is_json)
            found[type(finding)] += 1
    sys.stdout.flush()
    if found:
        raise CommandFailed(*_summary(found[Difference], found[NotReplayed]))
    if not is_json:
        replayed = ", ".join(f"{log} {number}" for log, number in check.replayed.items())
        click.echo(f"the read models show what the events say; replayed: {replayed}")


def _show_finding(finding: Finding, is_json: bool) -> None:
    if is_json:
        show_json(write_json(public_record(finding)))
    elif isinstance(finding, Difference):
        click.echo(_told(finding))
    else:
        place = f"{finding.log} {finding.aggregate_id}"
        click.echo(printable(f"{place} cannot be replayed: {finding.reason}"))


def _summary(differences: int, not_replayed: int) -> Iterator[str]:
    if differences:
        yield f"{differences} differences between the events and the read models"
        yield "`paysaga projections rebuild NAME` makes a read model anew"
    if not_replayed:
        yield f"{not_replayed} aggregates cannot be replayed, and were not compared"
        yield VERIFY


def _told(difference: Difference) -> str:
    place = f"{difference.table} {difference.key}"
    if difference.column is None:
        gone = "is missing" if difference.shown is None else "comes of no event"
        return printable(f"{place}: the row {gone}")
    return printable(
        f"{place}: {difference.column} is {difference.shown!r}, "
        f"replayed it is {difference.replayed!r}"
    )
