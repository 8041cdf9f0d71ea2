"""Customers who go on buying whatever happens to PaySaga: they repeat what was not answered."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Any

import requests

from tests.e2e.fleet import Fleet
from tests.e2e.house import Api

PATIENCE_SECONDS = 90
"""How long a customer repeats one request before the test has failed."""
PAUSE_SECONDS = 0.1


class Shoppers:
    """Some customers at once, each at a random one of the web processes."""

    def __init__(self, fleet: Fleet, ports: list[int], chance: random.Random, count: int) -> None:
        self._fleet = fleet
        self._urls = [f"http://127.0.0.1:{port}" for port in ports]
        self._closing = threading.Event()
        self._bought: list[str] = []
        self._trouble: list[BaseException] = []
        seeds = [chance.random() for _ in range(count)]
        self._threads = [threading.Thread(target=self._shop, args=(seed,)) for seed in seeds]

    def __enter__(self) -> Shoppers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        for thread in self._threads:
            thread.join()

    def bought(self) -> list[str]:
        """The payments that were paid for. Asked after the customers have gone home.

        Raises:
            AssertionError: one of them was not served.
        """
        assert not self._trouble, self._trouble
        return list(self._bought)

    def _shop(self, seed: float) -> None:
        chance = random.Random(seed)
        try:
            while not self._closing.is_set():
                self._bought.append(self._buy(chance))
        except BaseException as error:
            self._trouble.append(error)

    def _buy(self, chance: random.Random) -> str:
        key = {"Idempotency-Key": f"{chance.getrandbits(128):032x}"}
        order = {"callbackUrl": self._fleet.merchant.url}
        payment = self._answered(chance, lambda api: api.create(key, **order))
        path = f"/v1/payments/{payment['paymentId']}"
        while payment["transactionRef"] is None:
            time.sleep(PAUSE_SECONDS)
            payment = self._answered(chance, lambda api: api.get(path))
        self._fleet.customer.pay(payment["transactionRef"])
        return str(payment["paymentId"])

    def _answered(
        self, chance: random.Random, ask: Callable[[Api], requests.Response]
    ) -> dict[str, Any]:
        last: object = None
        end = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end:
            try:
                last = ask(Api(chance.choice(self._urls)))
            except requests.RequestException as error:
                last = error
            else:
                assert last.status_code < 500 or last.status_code == 503, last.text
                if last.ok:
                    return dict(last.json())
            time.sleep(PAUSE_SECONDS)
        raise AssertionError(f"not served in {PATIENCE_SECONDS} s; last: {last!r}")
