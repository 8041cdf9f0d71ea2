"""Complete payments a second through HTTP, beside a service written by hand without events.

Run `python -m tests.benchmarks.bench_lifecycle`. A lifecycle is: create (answered with the hosted
page), pay at the simulator, signed callback, completed and visible in the list. Web, worker,
simulator, PostgreSQL and this load client share the machine; both services run the whole time and
are loaded in turn.
"""

import argparse
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any
from uuid import uuid4

from interface.serve.ports import free_port
from tests.benchmarks.fleet import (
    HOST,
    PROFILE_ID,
    SECRET,
    SERVER_KEY,
    Fleet,
    fleet,
    server_cpu_seconds,
)
from tests.benchmarks.kit import (
    describe,
    durable_postgres,
    in_turns,
    median_ratio,
    percentile,
    table,
)
from tests.benchmarks.wire import Wire

ORDER = {"amount": "149.50", "currency": "SAR", "description": "Tea"}
CARD = {"card": "4111111111111111", "cvv": "123"}
LIST_PATH = "/v1/payments?status=completed&limit=100"
LOOK_SECONDS = 0.2
PROBE_SECONDS = 0.1
SETTLE_SECONDS_MAX = 60.0
CREATE_MS_MAX = 10_000


@dataclass
class Service:
    """One of the two services, and the customers at the simulator that they share."""

    name: str
    port: int
    simulator_port: int

    def api(self) -> Wire:
        """A connection to the service."""
        return Wire(self.port, {"Authorization": f"Bearer {SECRET}"})

    def simulator(self) -> Wire:
        """A connection to the simulator."""
        return Wire(self.simulator_port, {"Authorization": SERVER_KEY})


@dataclass
class Tally:
    """What a load has done so far; guarded by `lock`."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    under_way: dict[str, float] = field(default_factory=dict)
    finished_at: list[float] = field(default_factory=list)
    create_ms: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def create(service: Service, api: Wire) -> tuple[str, str]:
    """Creates a payment and returns its id and its transaction at the gateway."""
    status, payment = api.call("POST", "/v1/payments", ORDER)
    if status != 201 or not payment["transactionRef"]:
        raise RuntimeError(f"{service.name} answered a create with {status}: {payment}")
    return payment["paymentId"], payment["transactionRef"]


def pay(simulator: Wire, transaction_ref: str) -> None:
    """The customer pays on the hosted page."""
    status, answer = simulator.call("POST", f"/_simulator/transactions/{transaction_ref}/pay", CARD)
    if status != 200:
        raise RuntimeError(f"the simulator answered a pay with {status}: {answer}")


class Load:
    """Customers who create and pay, and one watcher who looks at the list.

    Args:
        under_way_max: payments that may be created and not yet seen completed in the list.
        starts: gives the time at which to begin the next payment; None: as soon as possible.
    """

    def __init__(
        self,
        service: Service,
        customers: int,
        under_way_max: int,
        starts: Callable[[], float] | None = None,
    ) -> None:
        self._service = service
        self._starts = starts
        self.tally = Tally()
        self._places = threading.Semaphore(under_way_max)
        self._ending = threading.Event()
        self._threads = [
            *(threading.Thread(target=self._act, daemon=True) for _ in range(customers)),
            threading.Thread(target=self._watch, daemon=True),
        ]

    def run(self, seconds: float) -> None:
        """Loads the service for so long, and then waits until every payment is completed.

        Raises:
            RuntimeError: something was answered with an error, or never completed.
        """
        for thread in self._threads:
            thread.start()
        self._ending.wait(seconds)
        self._ending.set()
        for thread in self._threads:
            thread.join(SETTLE_SECONDS_MAX)
        if self.tally.errors or self.tally.under_way:
            raise RuntimeError(
                f"{self._service.name}: {self.tally.errors[:3]}, "
                f"{len(self.tally.under_way)} payments never completed"
            )

    def _act(self) -> None:
        api, simulator = self._service.api(), self._service.simulator()
        try:
            while not self._ending.is_set():
                if self._places.acquire(timeout=0.5):
                    self._act_once(api, simulator)
        except (OSError, RuntimeError) as error:
            with self.tally.lock:
                self.tally.errors.append(str(error))
            self._ending.set()

    def _act_once(self, api: Wire, simulator: Wire) -> None:
        began = self._starts() if self._starts else time.perf_counter()
        if self._ending.wait(max(0.0, began - time.perf_counter())):
            return
        payment_id, transaction_ref = create(self._service, api)
        elapsed_ms = (time.perf_counter() - began) * 1000
        with self.tally.lock:
            self.tally.create_ms.append(elapsed_ms)
            self.tally.under_way[payment_id] = began
        pay(simulator, transaction_ref)

    def _watch(self) -> None:
        api = self._service.api()
        while not self._ending.is_set():
            self._see(api.call("GET", LIST_PATH)[1]["data"])
            time.sleep(LOOK_SECONDS)
        deadline = time.monotonic() + SETTLE_SECONDS_MAX / 2
        while self.tally.under_way and time.monotonic() < deadline:
            self._see([api.call("GET", f"/v1/payments/{each}")[1] for each in self._left()])
            time.sleep(LOOK_SECONDS)

    def _left(self) -> list[str]:
        with self.tally.lock:
            return list(self.tally.under_way)

    def _see(self, payments: list[dict[str, Any]]) -> None:
        """Those that are older than the newest hundred are looked at one by one in the end."""
        now = time.perf_counter()
        with self.tally.lock:
            for payment in payments:
                if payment["status"] != "completed":
                    continue
                if self.tally.under_way.pop(payment["paymentId"], None) is not None:
                    self.tally.finished_at.append(now)
                    self._places.release()


def lifecycles_per_second(service: Service, seconds: float, customers: int) -> float:
    """As many as the service manages; the first tenth of the time is not counted."""
    load = Load(service, customers, under_way_max=4 * customers)
    began = time.perf_counter()
    load.run(seconds)
    first, last = began + seconds / 10, began + seconds
    counted = sum(first <= moment <= last for moment in load.tally.finished_at)
    return counted / (last - first)


def evenly(per_second: float) -> Callable[[], float]:
    """Start times at a constant rate: late is late, nobody waits for the one before."""
    numbers, begin, lock = count(), time.perf_counter() + 0.2, threading.Lock()

    def next_start() -> float:
        with lock:
            return begin + next(numbers) / per_second

    return next_start


class GatewayProbe:
    """Asks the simulator itself for pages during a load: the gateway's own time."""

    def __init__(self, service: Service) -> None:
        self._wire = service.simulator()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self.page_ms: list[float] = []

    def __enter__(self) -> "GatewayProbe":
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._ending.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self._ending.wait(PROBE_SECONDS):
            began = time.perf_counter()
            status, _page = self._wire.call("POST", "/payment/request", _page_request())
            if status == 200:
                self.page_ms.append((time.perf_counter() - began) * 1000)


def _page_request() -> dict[str, Any]:
    return {
        "profile_id": PROFILE_ID,
        "tran_type": "sale",
        "tran_class": "ecom",
        "cart_id": str(uuid4()),
        "cart_description": ORDER["description"],
        "cart_currency": ORDER["currency"],
        "cart_amount": ORDER["amount"],
        "callback": f"http://{HOST}:9/never",
    }


def create_latency(
    service: Service, seconds: float, per_second: float, customers: int
) -> list[Any]:
    """p50 and p99 of create at a constant load, as measured and without the gateway's time."""
    load = Load(service, customers, under_way_max=10_000, starts=evenly(per_second))
    with GatewayProbe(service) as probe:
        load.run(seconds)
    gateway_ms = statistics.median(probe.page_ms)
    p50, p99 = (percentile(load.tally.create_ms, share) for share in (0.50, 0.99))
    return [
        service.name,
        f"{per_second:.0f}/s",
        len(load.tally.create_ms),
        p50,
        p99,
        gateway_ms,
        p50 - gateway_ms,
        p99 - gateway_ms,
    ]


def start_all(fleet_: Fleet) -> tuple[Service, Service]:
    """Starts the simulator, PaySaga's web and worker, and the service written by hand."""
    web, hand = free_port(HOST), free_port(HOST)
    fleet_.start("simulator", ["interface.cli", "simulator"], 0)
    fleet_.wait_for("simulator", fleet_.simulator_port, "/healthz")
    fleet_.start("web", ["interface.cli", "web"], web)
    fleet_.wait_for("web", web, "/healthz")
    fleet_.start("worker", ["interface.cli", "worker"], web)
    fleet_.start("handwritten", ["tests.benchmarks.handwritten"], hand)
    fleet_.wait_for("handwritten", hand, LIST_PATH)
    return (
        Service("handwritten", hand, fleet_.simulator_port),
        Service("PaySaga", web, fleet_.simulator_port),
    )


def cost_per_payment(
    fleet_: Fleet, server_pid: int, service: Service, seconds: float, customers: int
) -> dict[str, float]:
    """The processor time in ms that each process spends on one lifecycle, those included that are
    completed after the load has ended."""
    before = {**fleet_.cpu_seconds(), "postgres": server_cpu_seconds(server_pid)}
    own_before = time.process_time()
    load = Load(service, customers, under_way_max=4 * customers)
    load.run(seconds)
    lifecycles = len(load.tally.finished_at)
    spent = {
        name: (now - before[name]) * 1000 / lifecycles
        for name, now in {
            **fleet_.cpu_seconds(),
            "postgres": server_cpu_seconds(server_pid),
        }.items()
    }
    return {**spent, "load client": (time.process_time() - own_before) * 1000 / lifecycles}


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints throughput, latency, and where the processor time goes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each load")
    parser.add_argument("--customers", type=int, default=24, help="connections of the load client")
    options = parser.parse_args(arguments)
    with durable_postgres() as server:
        url = server.ensure_database("bench_lifecycle")
        print(describe(url))
        with fleet(url) as fleet_:
            services = start_all(fleet_)
            for service in services:
                lifecycles_per_second(service, min(3.0, options.seconds), options.customers)
            _print_all(fleet_, server.pid or 0, services, options)


def _print_all(
    fleet_: Fleet, server_pid: int, services: tuple[Service, Service], options: argparse.Namespace
) -> None:
    seconds, customers = options.seconds, options.customers
    measures = {
        service.name: partial(lifecycles_per_second, service, seconds, customers)
        for service in services
    }
    figures = in_turns(measures, options.rounds)
    medians = {name: statistics.median(found) for name, found in figures.items()}
    ratio = median_ratio(figures["PaySaga"], figures["handwritten"])
    table(
        f"Lifecycles a second, median of {options.rounds} rounds of {seconds:g} s",
        ["handwritten", "PaySaga", "median ratio"],
        [[medians["handwritten"], medians["PaySaga"], f"{ratio:.2f}"]],
    )
    half = medians["PaySaga"] / 2
    table(
        "Create at half of PaySaga's load, ms",
        ["service", "load", "payments", "p50", "p99", "gateway", "p50 without", "p99 without"],
        [create_latency(service, seconds, half, customers) for service in services],
    )
    costs = {
        service.name: cost_per_payment(fleet_, server_pid, service, seconds, customers)
        for service in services
    }
    names = list(costs["PaySaga"])
    table(
        "Processor time of one lifecycle at full load, ms",
        ["service", *names, "sum"],
        [[name, *cost.values(), sum(cost.values())] for name, cost in costs.items()],
    )


if __name__ == "__main__":
    main()
