"""The commands on confirmations, over HTTP: what merchants were told, and telling them again."""

from typing import Any
from urllib.parse import quote

import click

from interface.cli.api_client import api_client
from interface.cli.failures import CommandFailed
from interface.cli.lists import as_json, read, read_list, tell_of_more
from interface.cli.showing import show_fields, show_json, show_table
from interface.cli.values import with_idempotency_key
from interface.client import PAGE_SIZE_MAX, Client, given
from interface.json_text import write_json

PATH = "/v1/confirmations"
ROUNDS_MAX = 1000
"""How many requests one `redeliver --since` sends at the most."""
STATUSES = ("pending", "delivered", "exhausted")


@click.group()
def confirmations() -> None:
    """List what merchants were told, and tell them again.

    The service is the one at PAYSAGA_URL, called with PAYSAGA_API_KEY; without them it is what
    `paysaga serve` runs in this folder.
    """


@confirmations.command("list")
@click.option("--payment", "payment_id", metavar="ID", help="Only of this payment.")
@click.option("--status", type=click.Choice(STATUSES), help="Only with this status.")
@click.option("--limit", type=click.IntRange(1, PAGE_SIZE_MAX), help="At most so many (20).")
@click.option("--cursor", help="Go on where an earlier list ended.")
@as_json
def list_confirmations(is_json: bool, **filters: Any) -> None:
    """List confirmations, newest first."""
    query = {
        "paymentId": filters["payment_id"],
        "status": filters["status"],
        "limit": filters["limit"],
        "cursor": filters["cursor"],
    }
    answer = read_list(PATH, given(query), is_all=False)
    if is_json:
        show_json(answer)
    else:
        _show_list(read(answer))


@confirmations.command()
@click.argument("confirmation_id", metavar="[ID]", required=False)
@click.option("--since", metavar="TIME", help="Instead of one: all that failed since (RFC 3339).")
@with_idempotency_key("Makes repeating the command for one ID harmless.")
@as_json
def redeliver(
    confirmation_id: str | None, since: str | None, idempotency_key: str | None, is_json: bool
) -> None:
    """Tell the merchant again: the confirmation ID, or all that failed --since a time.

    Each is tried at once and then on the whole schedule. What failed is what was given up and
    what is being tried again after a failure.
    """
    if (confirmation_id is None) == (since is None):
        raise click.UsageError("give either an ID or --since")
    with api_client() as api:
        if confirmation_id is not None:
            path = f"{PATH}/{quote(confirmation_id, safe='')}/redeliver"
            _show_one(api.post(path, {}, idempotency_key=idempotency_key), is_json)
        else:
            _show_count(_redeliver_all(api, since), is_json)


def _redeliver_all(api: Client, since: str | None) -> int:
    count = 0
    for _ in range(ROUNDS_MAX):
        answer = read(api.post(f"{PATH}/redeliver", {"since": since}))
        count += int(answer["redelivered"])
        if not answer["hasMore"]:
            return count
    raise CommandFailed(f"{count} are told again and there are more: run it again")


def _show_count(count: int, is_json: bool) -> None:
    if is_json:
        show_json(write_json({"redelivered": count}))
    else:
        click.echo(f"{count} told again")


def _show_one(answer: bytes, is_json: bool) -> None:
    if is_json:
        show_json(answer)
        return
    confirmation = read(answer)
    show_fields(
        {
            "Confirmation": confirmation["confirmationId"],
            "Payment": confirmation["paymentId"],
            "Event": confirmation["eventType"],
            "Goes to": confirmation["url"],
            "Status": confirmation["status"],
            "Attempts": confirmation["attempts"],
            "Next attempt": confirmation["nextAttemptAt"],
        }
    )


def _show_list(page: Any) -> None:
    show_table(
        ("Confirmation", "Payment", "Event", "Status", "Attempts", "Next attempt", "Last error"),
        [
            (
                confirmation["confirmationId"],
                confirmation["paymentId"],
                confirmation["eventType"],
                confirmation["status"],
                confirmation["attempts"],
                confirmation["nextAttemptAt"],
                (confirmation["lastAttempt"] or {}).get("error"),
            )
            for confirmation in page["data"]
        ],
    )
    tell_of_more(page)
