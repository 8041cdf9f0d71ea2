"""The commands on circuit breakers, over HTTP: list, show, force-open, reset."""

from typing import Any
from urllib.parse import quote

import click

from interface.cli.api_client import api_client
from interface.cli.lists import as_json, read
from interface.cli.showing import show_fields, show_json, show_table

PATH = "/v1/circuit-breakers"


@click.group("circuit-breakers")
def circuit_breakers() -> None:
    """Show the circuit breakers, keep calls away from a service, or let them through again.

    The service is the one at PAYSAGA_URL, called with PAYSAGA_API_KEY; without them it is what
    `paysaga serve` runs in this folder.
    """


@circuit_breakers.command("list")
@as_json
def list_breakers(is_json: bool) -> None:
    """List the breakers: one for PayTabs, one for each host that was called lately."""
    with api_client() as api:
        answer = api.get(PATH)
    if is_json:
        show_json(answer)
        return
    columns = ("errorRate", "totalRequests", "failedRequests", "rejectedRequests")
    show_table(
        ("Breaker", "State", "Errors in %", "Calls", "Failed", "Rejected", "Next trial"),
        [
            (
                each["name"],
                each["state"],
                *(each["metrics"][column] for column in columns),
                each["nextRetryTime"],
            )
            for each in read(answer)["data"]
        ],
    )


@circuit_breakers.command()
@click.argument("name")
@as_json
def show(name: str, is_json: bool) -> None:
    """Show the breaker NAME with its metrics and its configuration."""
    with api_client() as api:
        answer = api.get(_path(name))
    _show_breaker(answer, is_json)


@circuit_breakers.command("force-open")
@click.argument("name")
@as_json
def force_open(name: str, is_json: bool) -> None:
    """Keep all calls away from the service NAME until its reset time-out has passed."""
    _operate(name, "force-open", is_json)


@circuit_breakers.command()
@click.argument("name")
@as_json
def reset(name: str, is_json: bool) -> None:
    """Let calls to the service NAME through again."""
    _operate(name, "reset", is_json)


def _operate(name: str, action: str, is_json: bool) -> None:
    with api_client() as api:
        answer = api.post(f"{_path(name)}/{action}", {})
    _show_breaker(answer, is_json)


def _path(name: str) -> str:
    return f"{PATH}/{quote(name, safe='')}"


def _show_breaker(answer: bytes, is_json: bool) -> None:
    if is_json:
        show_json(answer)
        return
    breaker: Any = read(answer)
    show_fields(
        {
            "Breaker": breaker["name"],
            "State": breaker["state"],
            "Next trial": breaker["nextRetryTime"],
            "Last failure": breaker["lastFailureTime"],
            **breaker["metrics"],
        }
    )
    click.echo()
    show_fields(breaker["configuration"])
