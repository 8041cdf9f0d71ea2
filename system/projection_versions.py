"""Which version of each read model the database holds: one of another version is not served."""

from dataclasses import dataclass

from system.definition import PAYSAGA
from system.followers.base import Projection
from system.persistence.postgres import PostgresPersistence


@dataclass(frozen=True)
class Outdated:
    """A projection whose rows in the database are of another version than this program makes."""

    name: str
    found: int
    wanted: int


def rebuildable_projections() -> dict[str, type[Projection]]:
    """The projections that can be rebuilt, by name."""
    return {
        name: follower
        for name in PAYSAGA.followers
        if issubclass(follower := PAYSAGA.follower_cls(name), Projection)
        and follower.is_rebuildable
    }


def wanted_versions() -> dict[str, int]:
    """The version of each projection that can be rebuilt, as this program makes it."""
    return {name: projection.version for name, projection in rebuildable_projections().items()}


def outdated_projections(persistence: PostgresPersistence) -> list[Outdated]:
    """Those that must be rebuilt before this program may serve them; none on a new database."""
    with persistence.connection() as connection:
        row = connection.execute("SELECT to_regclass('projections') AS found").fetchone()
        if row is None or row["found"] is None:
            return []
        rows = connection.execute("SELECT name, version FROM projections").fetchall()
    found = {row["name"]: row["version"] for row in rows}
    return [
        Outdated(name, found[name], wanted)
        for name, wanted in wanted_versions().items()
        if found.get(name, wanted) != wanted
    ]


def record_versions(persistence: PostgresPersistence) -> None:
    """Notes the version of projections that are new in the database."""
    with persistence.connection() as connection:
        for name, version in wanted_versions().items():
            connection.execute(
                "INSERT INTO projections VALUES (%s, %s) ON CONFLICT DO NOTHING", (name, version)
            )
