"""What the commands on things over HTTP have in common."""

from typing import Any

import click

from interface.cli.api_client import api_client
from interface.cli.failures import CommandFailed
from interface.client import Client
from interface.json_text import read_json, write_json

PAGES_MAX = 100_000

as_json = click.option("--json", "is_json", is_flag=True, help="Print the JSON of the API.")


def read(answer: bytes) -> Any:
    """The JSON of an answer.

    Raises:
        CommandFailed: it is none.
    """
    try:
        return read_json(answer)
    except (ValueError, RecursionError):
        raise CommandFailed("the answer is no JSON: does PAYSAGA_URL name PaySaga?") from None


def all_pages(api: Client, path: str, query: dict[str, Any], member: str) -> bytes:
    """A whole list as one page; `member` of each page holds what it lists.

    Raises:
        CommandFailed: nobody answers, or there are more than `PAGES_MAX` pages.
    """
    found: list[Any] = []
    for _ in range(PAGES_MAX):
        page = read(api.get(path, query))
        found += page[member]
        if not page["nextCursor"]:
            return write_json({**page, member: found})
        query = {**query, "cursor": page["nextCursor"]}
    raise CommandFailed(f"there are more than {PAGES_MAX} pages: use filters")


def read_list(path: str, query: dict[str, Any], *, is_all: bool, member: str = "data") -> bytes:
    """A page of a list, or all of them as one.

    Raises:
        CommandFailed: see `all_pages`.
    """
    with api_client() as api:
        return all_pages(api, path, query, member) if is_all else api.get(path, query)


def tell_of_more(page: Any) -> None:
    """Says how to go on when a page is not the last one."""
    if page["nextCursor"]:
        click.echo(f"There are more: add --cursor {page['nextCursor']} or --all", err=True)
