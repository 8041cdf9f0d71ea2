"""The commands on events, over HTTP: list, show, and tail as they come."""

from typing import Any
from urllib.parse import quote

import click

from interface.cli.api_client import api_client
from interface.cli.lists import as_json, read
from interface.cli.payments import show_event
from interface.cli.showing import show_fields, show_json
from interface.client import PAGE_SIZE_MAX, given
from interface.json_text import write_json

PATH = "/v1/events"

of_type = click.option("--type", "event_type", help="Only this type, such as payment.completed.")
of_aggregate = click.option("--aggregate", metavar="ID", help="Only of this payment, saga, ….")
of_correlation = click.option("--correlation-id", help="Only what followed from this request.")


@click.group()
def events() -> None:
    """List and show events of all logs, in one order, and watch them as they come.

    The service is the one at PAYSAGA_URL, called with PAYSAGA_API_KEY; without them it is what
    `paysaga serve` runs in this folder.
    """


@events.command("list")
@of_type
@of_aggregate
@of_correlation
@click.option("--after", type=click.IntRange(0), help="Only behind this position.")
@click.option("--limit", type=click.IntRange(1, PAGE_SIZE_MAX), help="At most so many (20).")
@as_json
def list_events(after: int | None, limit: int | None, is_json: bool, **filters: Any) -> None:
    """List events, oldest first."""
    query = {**_chosen(filters), **given({"after": after, "limit": limit})}
    with api_client() as api:
        answer = api.get(PATH, query)
    if is_json:
        show_json(answer)
        return
    page = read(answer)
    for event in page["data"]:
        show_event(event, is_json=False)
    if page["nextCursor"]:
        click.echo(f"There are more: add --after {page['nextCursor']}", err=True)


@events.command()
@click.argument("event_id", metavar="ID")
@as_json
def show(event_id: str, is_json: bool) -> None:
    """Show the event ID."""
    with api_client() as api:
        answer = api.get(f"{PATH}/{quote(event_id, safe='')}")
    if is_json:
        show_json(answer)
        return
    event = read(answer)
    show_fields(
        {
            "Event": event["id"],
            "Position": event["position"],
            "Type": event["type"],
            "Time": event["timestamp"],
            "Status": event["status"],
            "Of": f"{event['aggregateType']} {event['aggregateId']}",
            "Version": event["aggregateVersion"],
            "Caused by": event["causationId"],
            "By": event["metadata"]["source"],
            "User": event["metadata"]["userId"],
            "Correlation id": event["correlationId"],
            "Trace id": event["metadata"]["traceId"],
            "Data": write_json(event["data"]).decode(),
        }
    )


@events.command()
@of_type
@of_aggregate
@of_correlation
@click.option("--after", type=click.IntRange(0), help="Begin behind this position, not now.")
@click.option("--count", type=click.IntRange(1), help="End after so many.")
@as_json
def tail(after: int | None, count: int | None, is_json: bool, **filters: Any) -> None:
    """Show events as they come, until Ctrl-C. A broken connection is made again; none is missed."""
    with api_client() as api:
        for number, event in enumerate(api.stream(_chosen(filters), after=after), start=1):
            show_event(read(event), is_json)
            if number == count:
                return


def _chosen(filters: dict[str, Any]) -> dict[str, Any]:
    return given(
        {
            "type": filters["event_type"],
            "aggregateId": filters["aggregate"],
            "correlationId": filters["correlation_id"],
        }
    )
