"""The commands that run until they are stopped: `serve` and its roles one by one."""

import click

from interface.cli.failures import CommandFailed
from interface.kept_secrets import complete, with_simulator_profile
from interface.settings import Settings, load_settings


@click.command()
def serve() -> None:
    """Start everything on this machine.

    Without any setting: PostgreSQL from a wheel, the PayTabs simulator, a worker, and the web API,
    with all data in ./.paysaga. Stop it with Ctrl-C.
    """
    from interface.embedded_postgres import EmbeddedPostgresError
    from interface.serve.run import run_serve
    from interface.serve.supervisor import ServeFailed

    try:
        run_serve(load_settings())
    except (EmbeddedPostgresError, ServeFailed) as error:
        raise CommandFailed(str(error)) from None


@click.command()
def web() -> None:
    """Serve the HTTP API on PAYSAGA_HOST and PAYSAGA_PORT.

    Needs PAYSAGA_DATABASE_URL. Any number of web processes may share one database.
    """
    from interface.roles.web import run_web

    run_web(_settings())


@click.command()
def worker() -> None:
    """Run the followers and call the gateway.

    Needs PAYSAGA_DATABASE_URL and a PayTabs profile. Any number of workers may share one database.
    """
    from interface.roles.worker import run_worker

    run_worker(_settings())


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), help="Instead of PAYSAGA_SIMULATOR_PORT.")
def simulator(port: int | None) -> None:
    """Serve a simulated PayTabs.

    It is reached with PAYSAGA_PAYTABS_PROFILE_ID and PAYSAGA_PAYTABS_SERVER_KEY; without these
    they are generated once and kept in the data folder.
    """
    from interface.roles.simulator import run_simulator

    overrides = {} if port is None else {"simulator_port": port}
    run_simulator(with_simulator_profile(load_settings(**overrides)))


def _settings() -> Settings:
    return complete(load_settings())
