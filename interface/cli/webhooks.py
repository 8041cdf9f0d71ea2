"""The commands on webhooks, over HTTP: list, show, replay."""

from typing import Any
from urllib.parse import quote

import click

from interface.cli.api_client import api_client
from interface.cli.lists import as_json, read, read_list, tell_of_more
from interface.cli.showing import show_fields, show_json, show_table
from interface.cli.values import with_idempotency_key
from interface.client import PAGE_SIZE_MAX, given
from interface.json_text import write_json

PATH = "/v1/webhooks"
STATUSES = ("received", "processed", "failed")


@click.group()
def webhooks() -> None:
    """List, show and replay the notifications that came from the gateway.

    The service is the one at PAYSAGA_URL, called with PAYSAGA_API_KEY; without them it is what
    `paysaga serve` runs in this folder.
    """


@webhooks.command("list")
@click.option("--status", type=click.Choice(STATUSES), help="Only with this status.")
@click.option("--payment", "payment_id", help="Only of this payment.")
@click.option("--transaction-ref", help="Only with this reference of the gateway.")
@click.option("--from", "received_from", metavar="TIME", help="Only then or later (RFC 3339).")
@click.option("--to", "received_to", metavar="TIME", help="Only then or before (RFC 3339).")
@click.option("--limit", type=click.IntRange(1, PAGE_SIZE_MAX), help="At most so many (20).")
@click.option("--cursor", help="Go on where an earlier list ended.")
@click.option("--all", "is_all", is_flag=True, help="All pages.")
@as_json
def list_webhooks(is_all: bool, is_json: bool, limit: int | None, **filters: str | None) -> None:
    """List webhooks, newest first."""
    query = given(
        {
            "status": filters["status"],
            "paymentId": filters["payment_id"],
            "transactionRef": filters["transaction_ref"],
            "receivedFrom": filters["received_from"],
            "receivedTo": filters["received_to"],
            "cursor": filters["cursor"],
            "limit": limit or (PAGE_SIZE_MAX if is_all else None),
        }
    )
    answer = read_list(PATH, query, is_all=is_all)
    if is_json:
        show_json(answer)
    else:
        _show_list(read(answer))


@webhooks.command()
@click.argument("webhook_id", metavar="ID")
@as_json
def show(webhook_id: str, is_json: bool) -> None:
    """Show the webhook ID: what came, and what became of it."""
    with api_client() as api:
        answer = api.get(_path(webhook_id))
    _show_webhook(answer, is_json)


@webhooks.command()
@click.argument("webhook_id", metavar="ID")
@with_idempotency_key("Makes repeating the command one replay.")
@as_json
def replay(webhook_id: str, idempotency_key: str | None, is_json: bool) -> None:
    """Have the saga told again what the webhook ID says. Harmless: it knows what it knows."""
    with api_client() as api:
        answer = api.post(f"{_path(webhook_id)}/replay", {}, idempotency_key=idempotency_key)
    _show_webhook(answer, is_json)


def _path(webhook_id: str) -> str:
    return f"{PATH}/{quote(webhook_id, safe='')}"


def _show_webhook(answer: bytes, is_json: bool) -> None:
    if is_json:
        show_json(answer)
        return
    webhook = read(answer)
    said = (webhook["transactionKind"], webhook["transactionStatus"])
    show_fields(
        {
            "Webhook": webhook["webhookId"],
            "Status": webhook["status"],
            "Outcome": webhook["outcome"],
            "Failed for": webhook["reason"],
            "Payment": webhook["paymentId"],
            "Transaction": webhook["transactionRef"],
            "It says": " ".join(word for word in said if word),
            "Seen": f"{webhook['timesSeen']} times",
            "From": webhook["ipAddress"],
            "Received": webhook["receivedAt"],
            "Updated": webhook["updatedAt"],
            "Correlation id": webhook["correlationId"],
            "Payload": write_json(webhook["payload"]).decode(),
        }
    )
    _show_events(webhook["events"])


def _show_events(events: list[Any]) -> None:
    show_table(
        ("Event", "Time", "By"),
        [(event["type"], event["timestamp"], event["metadata"]["source"]) for event in events],
    )


def _show_list(page: Any) -> None:
    columns = ("webhookId", "status", "paymentId", "transactionRef", "timesSeen", "receivedAt")
    show_table(
        ("Webhook", "Status", "Payment", "Transaction", "Seen", "Received", "Why"),
        [
            (*(row[column] for column in columns), row["reason"] or row["outcome"])
            for row in page["data"]
        ],
    )
    tell_of_more(page)
