"""The commands `paysaga privacy`: a person's right to be forgotten."""

import click

from interface.cli.failures import CommandFailed
from interface.cli.operators_database import operators_database
from interface.cli.showing import show_json
from interface.json_text import write_json
from system.erasure import ErasureRefused
from system.erasure import erase as erase_person


@click.group()
def privacy() -> None:
    """Erase what is known of a person."""


@privacy.command()
@click.argument("name", metavar="WHOM")
@click.option("--json", "is_json", is_flag=True, help="Print what was erased as JSON.")
@click.confirmation_option(
    prompt="Nothing brings this person's data back. Erase it?", help="Do not ask."
)
def erase(name: str, is_json: bool) -> None:
    """Erase a client for ever: name, e-mail, phone, address, in all payments and contracts.

    WHOM is a payment's id, a contractId or the client's e-mail address. What a gateway says later
    of the customer of these payments is not kept either. Amounts and statuses stay, and the journal
    can still be verified.
    """
    with operators_database() as (persistence, applications):
        try:
            erasure = erase_person(persistence, applications, name)
        except ErasureRefused as refusal:
            raise CommandFailed(str(refusal)) from None
    if is_json:
        payments = [str(payment_id) for payment_id in erasure.payments]
        show_json(write_json({"keys": erasure.keys, "payments": payments}))
    else:
        click.echo(f"erased: {erasure.keys} keys, {len(erasure.payments)} payments show `erased`")
