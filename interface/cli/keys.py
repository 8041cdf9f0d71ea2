"""The commands `paysaga keys`: API keys that are kept in the database, as digests."""

import re
from base64 import urlsafe_b64encode
from dataclasses import asdict
from datetime import datetime, timedelta
from getpass import getuser
from typing import Any

import click

from application.envelope import camel_case, public_value
from domain.event import EventContext, Metadata, acting
from interface.cli.failures import CommandFailed
from interface.cli.operators_database import operators_database
from interface.cli.showing import show_fields, show_json, show_table
from interface.json_text import write_json
from interface.kept_secrets import DEMO_KEY_NAME
from interface.settings import PREFIX, Role, load_settings
from interface.web.key_ring import digest_of
from system.applications import Applications
from system.persistence.api_keys import ApiKeys, StoredKey

SECRET_BYTES = 32
SECRET_PREFIX = "sk_"  # noqa: S105
NAME_PATTERN = "[A-Za-z0-9._-]{1,64}"
DAYS_MAX = 3650
COLUMNS = ("name", "role", "state", "created", "expires", "last used")

as_json = click.option("--json", "is_json", is_flag=True, help="Print JSON.")


@click.group()
def keys() -> None:
    """Create, list and revoke API keys.

    They work at once in every web process, beside those of PAYSAGA_API_KEYS.
    """


@keys.command()
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice([role.value for role in Role]),
    required=True,
    help="What it may do.",
)
@click.option(
    "--expires-in-days", "days", type=click.IntRange(1, DAYS_MAX), help="Without it: never."
)
@as_json
def create(name: str, role: str, days: int | None, is_json: bool) -> None:
    """Make a key NAME and show its secret, this once.

    Only a digest is kept. A name is used once, also after its key was revoked, and never beside a
    key of PAYSAGA_API_KEYS.
    """
    _check_name(name)
    configured = _configured(name)
    if configured:
        raise CommandFailed(f"{configured}: choose another name")
    with operators_database() as (persistence, applications):
        secret = _new_secret(applications)
        now = applications.clock.now()
        expires_at = now + timedelta(days=days) if days else None
        key = StoredKey(name, role, digest_of(secret), now, expires_at)
        if not ApiKeys(persistence).add(key):
            raise CommandFailed(f"there is a key '{name}', or was: choose another name")
        _record(applications, "api_key_created", {"name": name, "role": role})
    shown = {**_document(key, now), "secret": secret}
    if is_json:
        show_json(write_json(shown))
        return
    show_fields({"Name": name, "Role": role, "Expires": shown["expiresAt"], "Secret": secret})
    click.echo("Keep the secret now: it is shown this once.", err=True)


@keys.command("list")
@as_json
def list_keys(is_json: bool) -> None:
    """Show the keys that are kept in the database, without their secrets."""
    with operators_database() as (persistence, applications):
        now = applications.clock.now()
        found = [_document(key, now) for key in ApiKeys(persistence).all()]
    if is_json:
        show_json(write_json({"data": found}))
        return
    names = ("name", "role", "state", "createdAt", "expiresAt", "lastUsedAt")
    show_table(COLUMNS, [[key[name] for name in names] for key in found])


@keys.command()
@click.argument("name")
def revoke(name: str) -> None:
    """End the key NAME for good, in every web process at once.

    A key of PAYSAGA_API_KEYS ends when it is removed there.
    """
    configured = _configured(name)
    with operators_database() as (persistence, applications):
        is_revoked = ApiKeys(persistence).revoke(name, applications.clock.now())
        if is_revoked:
            _record(applications, "api_key_revoked", {"name": name})
    if configured:
        advice = f"it works until you change {PREFIX}API_KEYS and start the web processes again"
        told = ["the key in the database is revoked"] if is_revoked else []
        raise CommandFailed(*told, f"{configured}: {advice}")
    if not is_revoked:
        raise CommandFailed(f"no key '{name}' is left to revoke: see `paysaga keys list`")
    click.echo("revoked")


def _configured(name: str) -> str | None:
    """Says where else web processes have a key of this name from, if they are set as we are."""
    configured = load_settings().api_keys
    if name in {key.name for key in configured}:
        return f"'{name}' is a key of {PREFIX}API_KEYS"
    if not configured and name == DEMO_KEY_NAME:
        return f"'{name}' is the key that is generated while {PREFIX}API_KEYS is not set"
    return None


def _check_name(name: str) -> None:
    if not re.fullmatch(NAME_PATTERN, name):
        raise click.BadParameter("use 1 to 64 letters, digits, dots, dashes and underscores")


def _new_secret(applications: Applications) -> str:
    token = urlsafe_b64encode(applications.ids.token_bytes(SECRET_BYTES))
    return SECRET_PREFIX + token.decode().rstrip("=")


def _record(applications: Applications, kind: str, detail: dict[str, Any]) -> None:
    metadata = Metadata(str(applications.ids.uuid()), source="cli", user_id=_person())
    with acting(EventContext(metadata, applications.clock.now())):
        applications.operations.record_incident(kind, "low", None, detail)


def _person() -> str | None:
    try:
        return getuser()
    except OSError:
        return None


def _document(key: StoredKey, now: datetime) -> dict[str, Any]:
    kept = {name: value for name, value in asdict(key).items() if name != "digest"}
    shown = {camel_case(name): public_value(value, str) for name, value in kept.items()}
    return {**shown, "state": key.state(now)}
