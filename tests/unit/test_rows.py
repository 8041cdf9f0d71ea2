"""Folded row changes come to the same as the changes one by one."""

from hypothesis import given
from hypothesis import strategies as st

from application.rows import Delete, Patch, RowChange, Upsert, fold
from system.persistence.memory import MemoryTables

TABLES = st.sampled_from(["one", "other"])
KEYS = st.integers(min_value=1, max_value=2).map(lambda number: (number,))
VALUES = st.dictionaries(st.sampled_from("abc"), st.integers(0, 9), min_size=1)
CHANGES = st.lists(
    st.one_of(
        st.builds(Upsert, TABLES, KEYS, VALUES),
        st.builds(Patch, TABLES, KEYS, VALUES),
        st.builds(Delete, TABLES, KEYS),
    ),
    max_size=12,
)


def written(*batches: list[RowChange]) -> dict[str, dict[object, object]]:
    """The rows after writing all batches."""
    tables = MemoryTables()
    for batch in batches:
        tables.write(batch)
    return {name: dict(rows) for name, rows in tables.rows.items() if rows}


@given(CHANGES, CHANGES)
def test_folding_changes_nothing_but_the_number_of_changes(
    before: list[RowChange], changes: list[RowChange]
) -> None:
    folded = fold(changes)
    assert written(before, folded) == written(before, changes)
    assert len(folded) <= len(changes)


@given(CHANGES, st.randoms())
def test_within_a_kind_folded_changes_may_be_written_in_any_order(
    changes: list[RowChange], order: object
) -> None:
    folded = fold(changes)
    shuffled = list(folded)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    kinds = [Delete, Patch, Upsert]
    shuffled.sort(key=lambda change: kinds.index(type(change)))
    assert written(shuffled) == written(folded)


@given(CHANGES)
def test_a_row_has_at_most_one_change_of_each_kind(changes: list[RowChange]) -> None:
    folded = [(type(change), change.table, change.key) for change in fold(changes)]
    assert len(set(folded)) == len(folded)


def test_a_row_that_was_deleted_and_made_anew_keeps_nothing_of_the_old_one() -> None:
    old: list[RowChange] = [Upsert("t", (1,), {"a": 1, "b": 1})]
    anew: list[RowChange] = [Delete("t", (1,)), Upsert("t", (1,), {"a": 2})]
    assert written(old, fold(anew)) == {"t": {(1,): {"a": 2}}}


def test_a_patch_of_a_row_that_is_not_there_does_not_reach_the_row_made_later() -> None:
    changes: list[RowChange] = [Patch("t", (1,), {"a": 1}), Upsert("t", (1,), {"b": 2})]
    assert written(fold(changes)) == {"t": {(1,): {"b": 2}}}
