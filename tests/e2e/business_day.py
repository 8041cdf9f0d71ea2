"""A day of business at real processes whose clock is hurried: who buys, and what goes wrong."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import requests

from interface.clock import HurriedClock
from tests.e2e.fleet import Fleet, Process
from tests.e2e.house import DECLINED_CARD, Api, free_port, until
from tests.integration.production_kit import kill_connections

SPEED = 288
"""A day in five minutes."""
BUYERS = 3
PATIENCE_SECONDS = 60
PAUSE_SECONDS = 0.15
UNHEARD_URL = f"http://localhost:{free_port()}/nobody"
"""Where nobody listens; its host's breaker is not that of the merchant at 127.0.0.1."""

SETTINGS: dict[str, Any] = {
    "reconcile_after_seconds": 60,
    "retry_base_delay_ms": 200,
    "retry_max_delay_ms": 10_000,
    "breaker_window_ms": 3_600_000,
    "breaker_slow_call_threshold_ms": 1000 * SPEED * 2,
    "breaker_timeout_ms": 30_000 * SPEED,
    "breaker_reset_timeout_ms": 5 * 60_000,
    "simulator_controls": True,
    "lease_ms": 2000,
}
"""As in production but for what is measured in the computer's time: see docs/configuration.md."""


def clock_showing(start: datetime) -> HurriedClock:
    """A clock that shows `start` now, and a day later after five minutes."""
    now = datetime.now(UTC)
    since = now + (now - start) / (SPEED - 1)
    return HurriedClock(SPEED, since)


class BusinessDay:
    """A fleet of web ×2, worker ×2 and simulator, its customers and merchants, and its outages."""

    def __init__(self, fleet: Fleet, clock: HurriedClock, simulator_port: int) -> None:
        self.fleet = fleet
        self.clock = clock
        self.ports = [fleet.port, free_port()]
        self._simulator_port = simulator_port
        self._closing = threading.Event()
        self._trouble: list[BaseException] = []
        self._webs: list[Process] = []
        self._workers: list[Process] = []
        self._simulator: Process | None = None

    def start(self) -> None:
        """Starts all five processes."""
        self.gateway_starts()
        with ThreadPoolExecutor() as starters:
            webs = [starters.submit(self.fleet.web, port) for port in self.ports]
            workers = [starters.submit(self.fleet.worker) for _ in range(2)]
        self._webs = [web.result() for web in webs]
        self._workers = [worker.result() for worker in workers]

    def live(self, closing_time: datetime, chance: random.Random) -> None:
        """Business until the hurried clock shows that, with every outage once, one after another;
        on a slow machine for an hour at least."""
        outages = self._outages()
        shown = max(closing_time - self.clock.now(), timedelta(hours=1))
        end = time.monotonic() + shown.total_seconds() / SPEED
        callers = [self._buy, *[self._buy] * (BUYERS - 1), self._agree]
        threads = [
            threading.Thread(target=self._repeat, args=(each, random.Random(chance.random())))
            for each in callers
        ]
        for thread in threads:
            thread.start()
        pause = shown.total_seconds() / SPEED / (len(outages) + 1)
        for outage in outages:
            time.sleep(pause * 0.5)
            outage(pause * 0.5)
        time.sleep(max(0.0, end - time.monotonic()))
        self._closing.set()
        for thread in threads:
            thread.join()
        assert not self._trouble, self._trouble

    def stop_workers(self) -> None:
        """After this nothing is recorded any more: messages to nobody are tried again and again."""
        assert [worker.terminate() for worker in self._workers] == [0, 0]

    def _outages(self) -> list[Callable[[float], None]]:
        return [
            self._gateway_ill,
            self._callbacks_lost,
            self._worker_killed,
            self._connections_cut,
            self._web_killed,
            self._gateway_dead,
        ]

    def _gateway_ill(self, seconds: float) -> None:
        self.fleet.customer.behave(status=503, paths=["/payment/request", "/payment/query"])
        time.sleep(seconds)
        self.fleet.customer.behave_well()

    def _callbacks_lost(self, seconds: float) -> None:
        self.fleet.customer.behave(callback="lost")
        time.sleep(seconds)
        self.fleet.customer.behave_well()

    def _worker_killed(self, seconds: float) -> None:
        self._workers.pop().kill()
        time.sleep(seconds)
        self._workers.append(self.fleet.worker())

    def _web_killed(self, seconds: float) -> None:
        self._webs.pop().kill()
        time.sleep(seconds)
        self._webs.append(self.fleet.web(self.ports[-1]))

    def _connections_cut(self, seconds: float) -> None:
        kill_connections(self.fleet.database_url)
        time.sleep(seconds)

    def _gateway_dead(self, seconds: float) -> None:
        assert self._simulator is not None
        self._simulator.terminate()
        time.sleep(seconds)
        self.gateway_starts()

    def gateway_starts(self) -> None:
        """The simulator, with the books that it had when it ended."""
        simulator = self.fleet.start("simulator", simulator_port=self._simulator_port)
        until(lambda: simulator.has_said("simulator_started"))
        self._simulator = simulator

    def _repeat(self, work: Callable[[random.Random], None], chance: random.Random) -> None:
        try:
            while not self._closing.is_set():
                work(chance)
                self._closing.wait(chance.uniform(0, 2 * PAUSE_SECONDS))
        except BaseException as error:
            self._trouble.append(error)

    def _buy(self, chance: random.Random) -> None:
        """One customer, from the order to the end of what they do about it."""
        key = {"Idempotency-Key": f"{chance.getrandbits(128):032x}"}
        is_held = chance.random() < 0.15
        order = {
            "amount": str(Decimal(chance.randrange(100, 50_000)) / 100),
            "callbackUrl": UNHEARD_URL if chance.random() < 0.05 else self.fleet.merchant.url,
            "captureMethod": "manual" if is_held else "automatic",
        }
        payment = self._asked(chance, lambda api: api.create(key, **order)).json()
        payment = self._opened(chance, payment["paymentId"])
        if not payment["transactionRef"]:
            return
        act = chance.choices(
            [self._pays, self._is_declined, self._gives_up, self._walks_away, self._is_called_off],
            [70, 10, 6, 7, 7],
        )[0]
        act(chance, payment)
        if is_held and act == self._pays:
            self._take_or_leave(chance, payment["paymentId"])
        elif act == self._pays and chance.random() < 0.25:
            self._give_back(chance, payment)

    def _pays(self, _chance: random.Random, payment: dict[str, Any]) -> None:
        self._at_the_page(payment, "pay", {"card": "4111111111111111", "cvv": "123"})

    def _is_declined(self, _chance: random.Random, payment: dict[str, Any]) -> None:
        self._at_the_page(payment, "pay", DECLINED_CARD)

    def _gives_up(self, _chance: random.Random, payment: dict[str, Any]) -> None:
        self._at_the_page(payment, "cancel")

    def _walks_away(self, _chance: random.Random, payment: dict[str, Any]) -> None:
        """The page runs out."""

    def _is_called_off(self, chance: random.Random, payment: dict[str, Any]) -> None:
        self._asked(chance, lambda api: api.cancel(payment["paymentId"]), {409})

    def _at_the_page(self, payment: dict[str, Any], action: str, body: Any = None) -> None:
        """What the customer does, unless the page has run out or the gateway is away."""
        url = f"{self.fleet.customer.url}/transactions/{payment['transactionRef']}/{action}"
        try:
            answer = requests.post(url, json=body, timeout=10)
        except requests.ConnectionError:
            return
        assert answer.status_code in {200, 409}, answer.text

    def _take_or_leave(self, chance: random.Random, payment_id: str) -> None:
        """The merchant captures all, a part or nothing of what was authorized."""
        payment = self._settled(chance, payment_id, {"authorized"})
        if payment["status"] != "authorized":
            return
        part = str(Decimal(str(payment["amount"])) / 2 // Decimal("0.01") * Decimal("0.01"))
        fields = chance.choice([{}, {"amount": part}, None])
        if fields is None:
            self._asked(chance, lambda api: api.cancel(payment_id), {409})
        else:
            self._asked(chance, lambda api: api.capture(payment_id, **fields), {409})

    def _give_back(self, chance: random.Random, payment: dict[str, Any]) -> None:
        """A refund of all, or two of a third each."""
        payment_id = payment["paymentId"]
        if self._settled(chance, payment_id, {"completed"})["status"] != "completed":
            return
        third = str(Decimal(str(payment["amount"])) / 3 // Decimal("0.01") * Decimal("0.01"))
        for fields in chance.choice([[{}], [{"amount": third}, {"amount": third}]]):
            key = f"{chance.getrandbits(128):032x}"
            wish = dict(fields)
            self._asked(chance, lambda api, k=key, w=wish: api.refund(payment_id, k, **w))

    def _agree(self, chance: random.Random) -> None:
        """A contract with an instalment of today and one of tomorrow; some are called off."""
        today = self.clock.now().date()
        contract = {
            "description": "Rent",
            "currency": chance.choice(["SAR", "KWD", "JOD"]),
            "payee": {"id": f"payee-{chance.randrange(5)}", "name": "Landlord"},
            "platformFeePercent": chance.choice(["2.5", "0", "3.3333"]),
            "instalments": [
                {"dueOn": today.isoformat(), "amount": "100.01"},
                {"dueOn": (today + timedelta(days=1)).isoformat(), "amount": "33.33"},
            ],
            "callbackUrl": self.fleet.merchant.url,
        }
        key = {"Idempotency-Key": f"{chance.getrandbits(128):032x}"}
        made = self._asked(
            chance,
            lambda api: api.request("POST", "/v1/contracts", json=contract, headers=key),
        ).json()
        path = f"/v1/contracts/{made['contractId']}"
        self._pay_instalments(chance, path)
        if chance.random() < 0.2:
            self._asked(chance, lambda api: api.request("POST", f"{path}/cancel"), {409})
        self._closing.wait(1.0)
        for each in self._asked(chance, lambda api: api.get("/v1/contracts", limit=100)).json()[
            "data"
        ]:
            self._pay_instalments(chance, f"/v1/contracts/{each['contractId']}", patience=0)

    def _pay_instalments(
        self, chance: random.Random, path: str, patience: float = PATIENCE_SECONDS / 4
    ) -> None:
        """Pays what is due and has a page; waits for the first page for so many seconds."""
        end = time.monotonic() + patience
        while True:
            contract = self._asked(chance, lambda api: api.get(path)).json()
            due = [each for each in contract["instalments"] if each["status"] == "due"]
            pages = [each for each in due if each["nextAction"]]
            if pages or time.monotonic() >= end or self._closing.is_set():
                break
            time.sleep(PAUSE_SECONDS)
        for each in pages:
            payment = self._asked(
                chance, lambda api, id=each["paymentId"]: api.get(f"/v1/payments/{id}")
            ).json()
            if chance.random() < 0.85:
                self._pays(chance, payment)
                if chance.random() < 0.3:
                    self._give_back(chance, payment)

    def _opened(self, chance: random.Random, payment_id: str) -> dict[str, Any]:
        """The payment when it has its page, or has ended without one."""
        return self._settled(
            chance, payment_id, {"processing", "authorized", "completed", "failed", "cancelled"}
        )

    def _settled(self, chance: random.Random, payment_id: str, wanted: set[str]) -> dict[str, Any]:
        """The payment as soon as its status is one of those, or final."""
        ends = wanted | {"failed", "cancelled", "refunded", "completed"}
        found: dict[str, Any] = {}

        def look() -> bool:
            path = f"/v1/payments/{payment_id}"
            found.update(self._asked(chance, lambda api: api.get(path)).json())
            return found["status"] in ends

        until(look, PATIENCE_SECONDS)
        return found

    def _asked(
        self,
        chance: random.Random,
        ask: Callable[[Api], requests.Response],
        also: set[int] = frozenset(),  # type: ignore[assignment]
    ) -> requests.Response:
        """What one of the webs answers, as soon as one does."""
        end = time.monotonic() + PATIENCE_SECONDS
        last: object = None
        while time.monotonic() < end:
            try:
                last = ask(Api(f"http://127.0.0.1:{chance.choice(self.ports)}"))
            except requests.ConnectionError as error:
                last = error
            else:
                if last.ok or last.status_code in also:
                    return last
                assert last.status_code == 503, last.text
            time.sleep(PAUSE_SECONDS)
        raise AssertionError(f"not served in {PATIENCE_SECONDS} s; last: {last!r}")

    def comes_to_rest(self) -> None:
        """Everything that was begun is over; left are messages to nobody, and instalments."""

        def is_over() -> bool:
            busy = "SELECT 1 FROM view_payments WHERE status IN ('initiated', 'processing')"
            sagas = (
                "SELECT 1 FROM view_sagas WHERE parked_detail IS NULL"
                " AND status IN ('running', 'compensating')"
            )
            calls = "SELECT 1 FROM agenda WHERE kind = 'gateway_call'"
            is_idle = not any(self.fleet.rows(query) for query in (busy, sagas, calls))
            return is_idle and not self.fleet.unread()

        until(is_over, PATIENCE_SECONDS * 2)
