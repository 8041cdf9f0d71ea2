"""The command `paysaga listen`: a small receiver of confirmations, for development."""

import os

import click

from interface.cli.api_client import data_folder
from interface.cli.failures import CommandFailed
from interface.cli.showing import printable
from interface.kept_secrets import CONFIRMATION_SECRET_FILE
from interface.settings import PREFIX

DEFAULT_PORT = 9000
SECRET_BYTES_MAX = 4096


@click.command()
@click.option("--port", default=DEFAULT_PORT, show_default=True, type=click.IntRange(0, 65535))
@click.option("--status", default=200, show_default=True, type=click.IntRange(200, 599))
@click.option("--body", "is_whole", is_flag=True, help="Print the whole message too.")
def listen(port: int, status: int, is_whole: bool) -> None:
    """Receive confirmations on this machine: verify each and print it.

    Secrets come from PAYSAGA_CONFIRMATION_SECRET, else from the data folder of a `paysaga serve`
    in this folder. A message whose signature is right is answered with --status, another with
    401. Port 0 takes a free one. Stop it with Ctrl-C.
    """
    from interface.confirmation_receiver import ConfirmationReceiver, Message

    def show(message: Message) -> None:
        verdict = "verified" if message.is_verified else f"REFUSED   {message.trouble}"
        click.echo(printable(f"{verdict}  {message.id}  {message.summary}"))
        if is_whole:
            click.echo(printable(message.body.decode("utf-8", "replace")))

    try:
        receiver = ConfirmationReceiver(_secrets(), port, show, status=status)
    except OSError as error:
        raise CommandFailed(f"port {port} cannot be listened on: {error.strerror}") from None
    except ValueError as error:
        raise CommandFailed(f"{PREFIX}CONFIRMATION_SECRET: {error}") from None
    click.echo(f"Give payments the callbackUrl {receiver.url}")
    receiver.run()


def _secrets() -> list[str]:
    given = os.environ.get(f"{PREFIX}CONFIRMATION_SECRET", "").split()
    return given or [_kept_secret()]


def _kept_secret() -> str:
    folder = data_folder()
    try:
        with (folder / CONFIRMATION_SECRET_FILE).open("rb") as file:
            secret = file.read(SECRET_BYTES_MAX).decode().strip()
    except (OSError, UnicodeDecodeError):
        secret = ""
    if not secret:
        raise CommandFailed(
            f"{PREFIX}CONFIRMATION_SECRET: not set, and there is none in '{folder}': set it, or "
            "run this in the folder in which `paysaga serve` was started"
        )
    return secret
