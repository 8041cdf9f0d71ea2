"""At least 300 seeds of the whole system among faults; `make simulate` runs 10,000."""

import pytest

from tests.simulation.runs import run, shrunk
from tests.simulation.script import script_for

SEEDS = 320
PER_TEST = 10


@pytest.mark.parametrize("first", range(0, SEEDS, PER_TEST))
def test_nothing_that_happens_breaks_an_invariant(first: int) -> None:
    for seed in range(first, first + PER_TEST):
        failure = run(seed)
        assert failure is None, str(shrunk(failure))


def test_the_same_seed_gives_the_same_history() -> None:
    def history(seed: int) -> list[tuple[object, ...]]:
        from tests.simulation.people import PeopledWorld

        world = PeopledWorld(seed)
        with world.system:
            world.play(script_for(seed))
            return [
                (event.timestamp, event.originator_id, event.originator_version, type(event))
                for log in world.system.applications.by_name.values()
                for event in log.all()
            ]

    assert history(7) == history(7)


def test_a_script_is_cut_to_what_matters() -> None:
    from tests.simulation.runs import Failure
    from tests.simulation.script import Action

    script = [
        Action(0.0, "create", 0, 0.5, "SAR automatic told"),
        Action(1.0, "pay"),
        Action(2.0, "cancel"),
        Action(3.0, "retry"),
    ]

    def fails_when_paid(seed: int, script: list[Action]) -> Failure | None:
        kinds = {action.kind for action in script}
        is_bad = {"create", "pay"} <= kinds
        return Failure(seed, script, "money is gone", "", "") if is_bad else None

    failure = shrunk(Failure(1, script, "money is gone", "", ""), fails_when_paid)

    assert [action.kind for action in failure.script] == ["create", "pay"]
    assert "python -m tests.simulation --seed 1" in str(failure)
