"""What a protected call costs with PaySaga's breaker, beside the packages it stands among.

Run `python -m tests.benchmarks.bench_circuit_breaker`. Every round times each breaker in turn, so
that whatever else the machine does falls on all of them; the figure is the median of the rounds,
the ratio the median of the rounds' own ratios to the plain `circuitbreaker` package.
"""

import argparse
import importlib
import statistics
import time
from collections.abc import Callable
from functools import partial
from threading import Barrier, Thread

from circuitbreaker import CircuitBreaker

from application.circuit_breaker import CircuitBreakerConfig, EventDrivenCircuitBreaker

Call = Callable[[], int]
BASELINE = "circuitbreaker"


def work() -> int:
    """The least a protected call can do, so that only the breaker is measured."""
    return 1


def contenders() -> dict[str, Call]:
    """The same function, bare and behind each breaker that can be imported."""
    breaker = EventDrivenCircuitBreaker(CircuitBreakerConfig(name="bench-paysaga"))
    found: dict[str, Call] = {
        "bare function": work,
        BASELINE: CircuitBreaker(name="bench-plain")(work),  # type: ignore[no-untyped-call]
        "paysaga": breaker(work),
        "paysaga .call": partial(breaker.call, work),
    }
    try:
        pybreaker = importlib.import_module("pybreaker")
    except ModuleNotFoundError:
        print("pybreaker is not installed: left out")
    else:
        found["pybreaker"] = pybreaker.CircuitBreaker()(work)
    return found


def nanoseconds_per_call(call: Call, calls: int, threads: int) -> float:
    """Wall time of all calls over their number, the threads started together."""
    share = calls // threads
    barrier = Barrier(threads + 1)

    def run() -> None:
        barrier.wait()
        for _ in range(share):
            call()
        barrier.wait()

    workers = [Thread(target=run) for _ in range(threads)]
    for worker in workers:
        worker.start()
    barrier.wait()
    started = time.perf_counter_ns()
    barrier.wait()
    elapsed = time.perf_counter_ns() - started
    for worker in workers:
        worker.join()
    return elapsed / (share * threads)


def measure(calls: dict[str, Call], threads: int, rounds: int, size: int) -> None:
    """Prints a line for each contender."""
    for call in calls.values():
        nanoseconds_per_call(call, size // 10, threads)
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            times[name].append(nanoseconds_per_call(call, size, threads))
    print(
        f"\n{threads} thread{'s' if threads > 1 else ''}, median of {rounds} rounds of {size} calls"
    )
    for name, own in times.items():
        ratio = statistics.median(a / b for a, b in zip(own, times[BASELINE], strict=True))
        print(f"  {name:15} {statistics.median(own):8.0f} ns/call {ratio:6.2f} x {BASELINE}")


def main() -> None:
    """Measures with one thread and with eight."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=80_000, help="calls a round")
    options = parser.parse_args()
    calls = contenders()
    for threads in (1, 8):
        measure(calls, threads, options.rounds, options.calls)


if __name__ == "__main__":
    main()
