"""The commands on sagas, over HTTP: list, show, and what an operator does with a parked one."""

from typing import Any

import click

from interface.cli.api_client import api_client
from interface.cli.lists import as_json, read, read_list, tell_of_more
from interface.cli.payments import show_saga
from interface.cli.showing import show_fields, show_json, show_table
from interface.client import PAGE_SIZE_MAX, given, path_of

STATUSES = ("running", "waiting", "compensating", "completed", "compensated", "parked")


@click.group()
def sagas() -> None:
    """List and show sagas; retry or compensate a parked one.

    The service is the one at PAYSAGA_URL, called with PAYSAGA_API_KEY; without them it is what
    `paysaga serve` runs in this folder.
    """


@sagas.command("list")
@click.option("--status", type=click.Choice(STATUSES), help="Only with this status.")
@click.option("--limit", type=click.IntRange(1, PAGE_SIZE_MAX), help="At most so many (20).")
@click.option("--cursor", help="Go on where an earlier list ended.")
@click.option("--all", "is_all", is_flag=True, help="All pages.")
@as_json
def list_sagas(
    status: str | None, limit: int | None, cursor: str | None, is_all: bool, is_json: bool
) -> None:
    """List sagas, those of the newest payments first."""
    size = limit or (PAGE_SIZE_MAX if is_all else None)
    query = given({"status": status, "limit": size, "cursor": cursor})
    answer = read_list("/v1/sagas", query, is_all=is_all)
    if is_json:
        show_json(answer)
    else:
        _show_list(read(answer))


@sagas.command()
@click.argument("payment_id", metavar="PAYMENT")
@as_json
def show(payment_id: str, is_json: bool) -> None:
    """Show the saga of the payment PAYMENT, step by step."""
    with api_client() as api:
        answer = api.get(path_of(payment_id, "saga"))
    _show(answer, is_json)


@sagas.command()
@click.argument("payment_id", metavar="PAYMENT")
@as_json
def retry(payment_id: str, is_json: bool) -> None:
    """Let the parked saga of the payment PAYMENT try again what it could not do."""
    _operate(payment_id, "retry", is_json)


@sagas.command()
@click.argument("payment_id", metavar="PAYMENT")
@as_json
def compensate(payment_id: str, is_json: bool) -> None:
    """Let the parked saga of the payment PAYMENT undo what it has done."""
    _operate(payment_id, "compensate", is_json)


def _operate(payment_id: str, action: str, is_json: bool) -> None:
    with api_client() as api:
        answer = api.post(path_of(payment_id, "saga", action), {})
    _show(answer, is_json)


def _show(answer: bytes, is_json: bool) -> None:
    if is_json:
        show_json(answer)
        return
    saga = read(answer)
    show_fields({"Saga": saga["sagaId"], "Status": saga["status"]})
    show_saga(saga)


def _show_list(page: Any) -> None:
    show_table(
        ("Payment", "Status", "Parked for", "What to do"),
        [
            (saga["paymentId"], saga["status"], saga["parked"], saga["advice"])
            for saga in page["data"]
        ],
    )
    tell_of_more(page)
