"""The commands on payments, over HTTP: create, show, list, cancel, capture, refund."""

import time
from decimal import Decimal
from typing import Any

import click

from interface.cli.api_client import api_client
from interface.cli.lists import as_json, read, read_list, tell_of_more
from interface.cli.showing import printable, show_fields, show_json, show_table
from interface.cli.values import AmountType, PairType, with_idempotency_key
from interface.client import PAGE_SIZE_MAX, given, path_of
from interface.json_text import write_json

PATH = "/v1/payments"
STATUSES = (
    "initiated",
    "processing",
    "authorized",
    "completed",
    "failed",
    "cancelled",
    "refunded",
)


@click.group()
def payments() -> None:
    """Create, show, list, cancel, capture, refund and watch payments over HTTP.

    The service is the one at PAYSAGA_URL, called with PAYSAGA_API_KEY; without them it is what
    `paysaga serve` runs in this folder.
    """


@payments.command()
@click.argument("amount", type=AmountType())
@click.argument("currency")
@click.option("--description", required=True, help="What is paid for (1 to 128 characters).")
@click.option("--callback-url", help="Where confirmations are sent.")
@click.option("--redirect-url", help="Where the customer goes after paying.")
@click.option("--client-name", help="The customer's name.")
@click.option("--client-email", help="The customer's e-mail address.")
@click.option("--client-phone", help="The customer's phone number.")
@click.option("--payment-method", help="A method code of the gateway; without it any.")
@click.option("--manual-capture", is_flag=True, help="Only hold the money until you capture it.")
@click.option("--contract-id", help="The contract that the payment belongs to.")
@click.option("--metadata", type=PairType(), multiple=True, help="Your own name=value; repeatable.")
@with_idempotency_key()
@click.option("--no-wait", is_flag=True, help="Do not wait for the hosted page.")
@as_json
def create(
    amount: Decimal,
    currency: str,
    metadata: tuple[tuple[str, str], ...],
    manual_capture: bool,
    idempotency_key: str | None,
    no_wait: bool,
    is_json: bool,
    **options: str | None,
) -> None:
    """Create a payment of AMOUNT (major units, such as 149.50) in CURRENCY (such as SAR)."""
    body = {
        "amount": amount,
        "currency": currency.upper(),
        "description": options["description"],
        "callbackUrl": options["callback_url"],
        "redirectUrl": options["redirect_url"],
        "contractId": options["contract_id"],
        "paymentMethod": options["payment_method"],
        "captureMethod": "manual" if manual_capture else None,
        "clientInfo": given(
            {name: options[f"client_{name}"] for name in ("name", "email", "phone")}
        ),
        "metadata": dict(metadata),
    }
    with api_client() as api:
        answer = api.post(
            PATH,
            given(body),
            idempotency_key=idempotency_key,
            prefer="respond-async" if no_wait else None,
        )
    _show_payment(answer, is_json)


@payments.command()
@click.argument("payment_id", metavar="ID")
@click.option("--version", type=click.IntRange(1), help="As it was at this version.")
@click.option("--as-of", metavar="TIME", help="As it was at this time (RFC 3339).")
@as_json
def show(payment_id: str, version: int | None, as_of: str | None, is_json: bool) -> None:
    """Show the payment ID, as it is or as it was, and its saga as it is."""
    if version is not None and as_of is not None:
        raise click.UsageError("give either --version or --as-of")
    is_past = version is not None or as_of is not None
    with api_client() as api:
        answer = api.get(path_of(payment_id), given({"version": version, "asOf": as_of}))
        saga = None if is_json or is_past else api.get(path_of(payment_id, "saga"))
    _show_payment(answer, is_json)
    if saga is not None:
        show_saga(read(saga))


@payments.command("list")
@click.option("--status", type=click.Choice(STATUSES), help="Only with this status.")
@click.option("--contract-id", help="Only of this contract.")
@click.option("--currency", help="Only in this currency.")
@click.option("--transaction-ref", help="Only with this reference of the gateway.")
@click.option("--created-from", metavar="TIME", help="Only created then or later (RFC 3339).")
@click.option("--created-to", metavar="TIME", help="Only created then or before (RFC 3339).")
@click.option("--text", help="Only with this in description, client name or e-mail.")
@click.option("--limit", type=click.IntRange(1, PAGE_SIZE_MAX), help="At most so many (20).")
@click.option("--cursor", help="Go on where an earlier list ended.")
@click.option("--all", "is_all", is_flag=True, help="All pages.")
@as_json
def list_payments(is_all: bool, is_json: bool, limit: int | None, **filters: str | None) -> None:
    """List payments, newest first."""
    query = given(
        {
            "status": filters["status"],
            "contractId": filters["contract_id"],
            "currency": filters["currency"] and filters["currency"].upper(),
            "transactionRef": filters["transaction_ref"],
            "createdFrom": filters["created_from"],
            "createdTo": filters["created_to"],
            "q": filters["text"],
            "cursor": filters["cursor"],
            "limit": limit or (PAGE_SIZE_MAX if is_all else None),
        }
    )
    answer = read_list(PATH, query, is_all=is_all)
    if is_json:
        show_json(answer)
    else:
        _show_list(read(answer))


@payments.command()
@click.argument("payment_id", metavar="ID")
@click.option("--reason", help="Why; it is kept with the payment.")
@as_json
def cancel(payment_id: str, reason: str | None, is_json: bool) -> None:
    """Cancel the payment ID. Money that arrives later is given back."""
    with api_client() as api:
        answer = api.post(path_of(payment_id, "cancel"), given({"reason": reason}))
    _show_payment(answer, is_json)


@payments.command()
@click.argument("payment_id", metavar="ID")
@click.option("--amount", type=AmountType(), help="Only so much of it; the rest is let go.")
@with_idempotency_key()
@as_json
def capture(
    payment_id: str, amount: Decimal | None, idempotency_key: str | None, is_json: bool
) -> None:
    """Take the authorized money of the payment ID, all of it or part."""
    path = path_of(payment_id, "capture")
    with api_client() as api:
        answer = api.post(path, given({"amount": amount}), idempotency_key=idempotency_key)
    _show_payment(answer, is_json)


@payments.command()
@click.argument("payment_id", metavar="ID")
@click.option("--amount", type=AmountType(), help="Only so much; without it all that is left.")
@click.option("--reason", help="Why; it is kept with the refund.")
@with_idempotency_key()
@as_json
def refund(
    payment_id: str,
    amount: Decimal | None,
    reason: str | None,
    idempotency_key: str | None,
    is_json: bool,
) -> None:
    """Give money of the payment ID back, all that is left of it or part."""
    body = given({"amount": amount, "reason": reason})
    with api_client() as api:
        answer = api.post(path_of(payment_id, "refunds"), body, idempotency_key=idempotency_key)
    if is_json:
        show_json(answer)
        return
    made = read(answer)
    show_fields(
        {
            "Refund": made["refundId"],
            "Status": made["status"],
            "Amount": made["amount"],
            "Reason": made["reason"],
            "Created": made["createdAt"],
        }
    )


@payments.command()
@click.argument("payment_id", metavar="ID")
@click.option("--interval", type=click.FloatRange(0.1, 60), default=1.0, help="Seconds (1).")
@as_json
def tail(payment_id: str, interval: float, is_json: bool) -> None:
    """Show what happens to the payment ID, event by event, until Ctrl-C.

    It ends by itself once the payment's saga is over.
    """
    seen = 0
    with api_client() as api:
        while True:
            is_over = read(api.get(path_of(payment_id, "saga")))["status"] in OVER
            page = read(api.get(path_of(payment_id, "events"), {"cursor": seen}))
            for event in page["data"]:
                show_event(event, is_json)
            seen += len(page["data"])
            if page["nextCursor"]:
                continue
            if is_over:
                return
            time.sleep(interval)


OVER = frozenset({"completed", "compensated"})
"""What a saga is when nothing more happens to its payment by itself."""


def show_event(event: dict[str, Any], is_json: bool) -> None:
    """One event on one line."""
    if is_json:
        show_json(write_json(event))
        return
    data = ", ".join(
        f"{name} {printable(_written(value))}"
        for name, value in event["data"].items()
        if name in SHOWN_DATA and value is not None
    )
    click.echo(f"{event['timestamp']}  {event['type']:<26}  {data}")


def _written(value: Any) -> Any:
    """Money as people write it."""
    is_money = isinstance(value, dict) and {"amount", "currency"} <= value.keys()
    return f"{value['amount']} {value['currency']}" if is_money else value


SHOWN_DATA = ("amount", "currency", "transactionRef", "code", "message", "reason", "refundId")


def _show_payment(answer: bytes, is_json: bool) -> None:
    if is_json:
        show_json(answer)
        return
    payment = read(answer)
    page, failure = payment["nextAction"] or {}, payment["failure"] or {}
    show_fields(
        {
            "Payment": payment["paymentId"],
            "Status": payment["status"],
            "Amount": f"{payment['amount']} {payment['currency']}",
            "Description": payment["description"],
            "Page to pay on": page.get("url"),
            "Page ends": page.get("expiresAt"),
            "Transaction": payment["transactionRef"],
            "Captured": payment["amountCaptured"] or None,
            "Refunded": payment["amountRefunded"] or None,
            "Failure": " ".join(str(failure[name]) for name in ("code", "message") if failure),
            "Cancelled for": payment["cancellationReason"],
            "Contract": payment["contractId"],
            "Saga": payment["saga"]["status"],
            "Version": payment["version"],
            "Created": payment["createdAt"],
            "Updated": payment["updatedAt"],
            "Correlation id": payment["correlationId"],
        }
    )


def show_saga(saga: Any) -> None:
    """The steps of a saga, and what it waits for."""
    click.echo()
    show_table(
        ("Step", "Status", "Attempts", "Started", "Ended", "Error"),
        [
            (
                step["name"],
                step["status"],
                step["attempts"],
                step["startedAt"],
                step["endedAt"],
                step["error"],
            )
            for step in saga["steps"]
        ],
    )
    looks = {f"Looks again ({each['name']})": each["dueAt"] for each in saga["deadlines"]}
    if saga["parked"] or looks:
        click.echo()
        show_fields({"Parked": saga["parked"], **looks})


def _show_list(page: Any) -> None:
    show_table(
        ("Payment", "Status", "Amount", "Currency", "Description", "Created"),
        [
            (
                payment["paymentId"],
                payment["status"],
                payment["amount"],
                payment["currency"],
                payment["description"],
                payment["createdAt"],
            )
            for payment in page["data"]
        ],
    )
    tell_of_more(page)
