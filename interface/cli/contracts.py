"""The commands on contracts, over HTTP: create, list, show, cancel, pay, earnings."""

from decimal import Decimal
from typing import Any
from urllib.parse import quote

import click

from interface.cli.api_client import api_client
from interface.cli.lists import as_json, read, read_list, tell_of_more
from interface.cli.showing import show_fields, show_json, show_table
from interface.cli.values import AmountType, PairType, with_idempotency_key
from interface.client import PAGE_SIZE_MAX, given

PATH = "/v1/contracts"


@click.group()
def contracts() -> None:
    """Create, list, show and cancel contracts, and show what they earn.

    The service is the one at PAYSAGA_URL, called with PAYSAGA_API_KEY; without them it is what
    `paysaga serve` runs in this folder.
    """


@contracts.command()
@click.argument("currency")
@click.option("--description", required=True, help="What is paid for (1 to 128 characters).")
@click.option("--payee", type=PairType(), required=True, help="Who earns, as ID=NAME.")
@click.option("--fee-percent", type=AmountType(), required=True, help="The platform's share.")
@click.option(
    "--instalment",
    "instalments",
    type=PairType(),
    multiple=True,
    required=True,
    help="What falls due when, such as 2026-12-01=99.50; repeatable.",
)
@click.option("--contract-id", help="Your own id for it.")
@click.option("--callback-url", help="Where confirmations are sent.")
@click.option("--client-name", help="The customer's name.")
@click.option("--client-email", help="The customer's e-mail address.")
@with_idempotency_key()
@as_json
def create(
    currency: str,
    payee: tuple[str, str],
    fee_percent: Decimal,
    instalments: tuple[tuple[str, str], ...],
    idempotency_key: str | None,
    is_json: bool,
    **options: str | None,
) -> None:
    """Create a contract in CURRENCY (such as SAR), each of whose instalments starts a payment."""
    body = {
        "contractId": options["contract_id"],
        "description": options["description"],
        "currency": currency.upper(),
        "payee": {"id": payee[0], "name": payee[1]},
        "platformFeePercent": fee_percent,
        "instalments": [{"dueOn": day, "amount": amount} for day, amount in instalments],
        "callbackUrl": options["callback_url"],
        "clientInfo": given({"name": options["client_name"], "email": options["client_email"]}),
    }
    with api_client() as api:
        answer = api.post(PATH, given(body), idempotency_key=idempotency_key)
    _show_contract(answer, is_json)


@contracts.command("list")
@click.option("--payee-id", help="Only of this payee.")
@click.option("--limit", type=click.IntRange(1, PAGE_SIZE_MAX), help="At most so many (20).")
@click.option("--cursor", help="Go on where an earlier list ended.")
@click.option("--all", "is_all", is_flag=True, help="All pages.")
@as_json
def list_contracts(
    payee_id: str | None, limit: int | None, cursor: str | None, is_all: bool, is_json: bool
) -> None:
    """List contracts, newest first."""
    size = limit or (PAGE_SIZE_MAX if is_all else None)
    query = given({"payeeId": payee_id, "limit": size, "cursor": cursor})
    answer = read_list(PATH, query, is_all=is_all)
    if is_json:
        show_json(answer)
    else:
        _show_list(read(answer))


@contracts.command()
@click.argument("contract_id", metavar="ID")
@as_json
def show(contract_id: str, is_json: bool) -> None:
    """Show the contract ID and its instalments."""
    with api_client() as api:
        answer = api.get(_path(contract_id))
    _show_contract(answer, is_json)


@contracts.command()
@click.argument("contract_id", metavar="ID")
@click.option("--reason", help="Why; it is kept with the contract.")
@with_idempotency_key()
@as_json
def cancel(
    contract_id: str, reason: str | None, idempotency_key: str | None, is_json: bool
) -> None:
    """Cancel the contract ID: nothing more falls due, open payments are cancelled."""
    path, body = _path(contract_id, "cancel"), given({"reason": reason})
    with api_client() as api:
        answer = api.post(path, body, idempotency_key=idempotency_key)
    _show_contract(answer, is_json)


@contracts.command()
@click.argument("contract_id", metavar="ID")
@click.argument("number", type=click.IntRange(1))
@with_idempotency_key()
@as_json
def pay(contract_id: str, number: int, idempotency_key: str | None, is_json: bool) -> None:
    """Ask for the unpaid instalment NUMBER of the contract ID again, with a new payment."""
    path = _path(contract_id, "instalments", str(number), "payments")
    with api_client() as api:
        answer = api.post(path, {}, idempotency_key=idempotency_key)
    _show_contract(answer, is_json)


@contracts.command()
@click.argument("contract_id", metavar="[ID]", required=False)
@click.option("--payee-id", help="Without an ID: only what this payee earned.")
@click.option("--limit", type=click.IntRange(1, PAGE_SIZE_MAX), help="At most so many (20).")
@click.option("--cursor", help="Go on where an earlier list ended.")
@click.option("--all", "is_all", is_flag=True, help="All pages.")
@as_json
def earnings(
    contract_id: str | None,
    payee_id: str | None,
    limit: int | None,
    cursor: str | None,
    is_all: bool,
    is_json: bool,
) -> None:
    """Show what each payment of the contract ID earned, or what payees earned in all."""
    if contract_id is not None and payee_id is not None:
        raise click.UsageError("give either an ID or --payee-id")
    size = limit or (PAGE_SIZE_MAX if is_all else None)
    query = given({"payeeId": payee_id, "limit": size, "cursor": cursor})
    title, column, member, path = ("Payee", "payeeId", "data", "/v1/earnings")
    if contract_id is not None:
        path = _path(contract_id, "earnings")
        title, column, member = ("Payment", "paymentId", "payments")
    answer = read_list(path, query, is_all=is_all, member=member)
    if is_json:
        show_json(answer)
    else:
        page = read(answer)
        _show_earned(title, column, page[member])
        tell_of_more(page)


def _path(contract_id: str, *parts: str) -> str:
    return "/".join((PATH, quote(contract_id, safe=""), *parts))


def _show_earned(title: str, member: str, rows: list[Any]) -> None:
    columns = (member, "currency", "gross", "platformFee", "net")
    show_table(
        (title, "Currency", "Gross", "Fee", "Net"),
        [[row[column] for column in columns] for row in rows],
    )


def _show_contract(answer: bytes, is_json: bool) -> None:
    if is_json:
        show_json(answer)
        return
    contract = read(answer)
    payee = contract["payee"]
    show_fields(
        {
            "Contract": contract["contractId"],
            "Status": contract["status"],
            "Description": contract["description"],
            "Currency": contract["currency"],
            "Payee": f"{payee['name']} ({payee['id']})",
            "Platform's share": f"{contract['platformFeePercent']} %",
            "Cancelled for": contract["cancellationReason"],
            "Created": contract["createdAt"],
            "Correlation id": contract["correlationId"],
        }
    )
    click.echo()
    show_table(
        ("Instalment", "Due on", "Amount", "Status", "Overdue", "Payment", "Page to pay on"),
        [
            (
                each["instalment"],
                each["dueOn"],
                each["amount"],
                each["status"],
                "yes" if each["overdue"] else "",
                each["paymentId"],
                (each["nextAction"] or {}).get("url"),
            )
            for each in contract["instalments"]
        ],
    )


def _show_list(page: Any) -> None:
    show_table(
        ("Contract", "Status", "Currency", "Payee", "Instalments", "Description", "Created"),
        [
            (
                contract["contractId"],
                contract["status"],
                contract["currency"],
                contract["payee"]["name"],
                len(contract["instalments"]),
                contract["description"],
                contract["createdAt"],
            )
            for contract in page["data"]
        ],
    )
    tell_of_more(page)
