"""The command `paysaga database`: tables made by one role, and used by one that may do less."""

import click

from interface.bootstrap import open_persistence
from interface.cli.failures import CommandFailed
from interface.roles.database_wait import told_database_errors
from interface.serve.attached import attach
from interface.settings import load_settings
from system.applications import LOG_NAMES
from system.persistence.database_roles import RoleRefused, restrict


@click.group()
def database() -> None:
    """Prepare the database with a role that the service does not have."""


@database.command()
@click.option("--service-role", metavar="ROLE", help="Give this role what the service needs.")
def prepare(service_role: str | None) -> None:
    """Create the tables and functions that are missing.

    The roles do that by themselves when they start, if they may. With --service-role they need
    not: that role may then add events and not change or remove any. Give the command as the owner
    of the tables, again for each new version of PaySaga.
    """
    settings = attach(load_settings())
    with told_database_errors():
        open_persistence(settings).close()
        click.echo("prepared: all tables are there")
        if service_role is None:
            return
        try:
            restrict(settings.conninfo, service_role, LOG_NAMES)
        except RoleRefused as refusal:
            raise CommandFailed(str(refusal)) from None
    click.echo(f"{service_role} may add events, and neither change nor remove any")
