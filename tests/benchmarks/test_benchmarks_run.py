"""The benchmarks run, with numbers so small that nothing can be read from them."""

from collections.abc import Callable, Sequence

import pytest

from tests.benchmarks import (
    bench_append,
    bench_audit,
    bench_calls,
    bench_confirmations,
    bench_follower,
    bench_latency,
    bench_lifecycle,
    bench_lists,
    bench_replay,
    bench_test_mode,
)

Main = Callable[[Sequence[str]], None]

SMALL: list[tuple[Main, str, str]] = [
    (
        bench_append.main,
        "--rounds 1 --commits 16 --batches 8 --processes 2",
        "Commits of one event a second",
    ),
    (bench_audit.main, "--payments 200 --entries 500", "Replay of one payment"),
    (bench_calls.main, "--calls 2", "Processor time of one call"),
    (bench_confirmations.main, "--messages 30", "confirmations due at once"),
    (
        bench_follower.main,
        "--rounds 1 --payments 100 --memory-events 500",
        "Events a second through a follower",
    ),
    (bench_latency.main, "--payments 3", "payment → saga → agenda"),
    (bench_lists.main, "--payments 500 --questions 2", "First page of the list, ms"),
    (
        bench_replay.main,
        "--events 100 --refunds 5 --rounds 1",
        "Loading an aggregate with a long past",
    ),
    (bench_test_mode.main, "--rounds 1 --payments 3", "Transcoding an event"),
    (
        bench_lifecycle.main,
        "--rounds 1 --seconds 1 --customers 2",
        "Processor time of one lifecycle at full load, ms",
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize(("main", "arguments", "title"), SMALL)
def test_a_benchmark_prints_its_tables(
    main: Main, arguments: str, title: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main(arguments.split())
    assert title in capsys.readouterr().out
