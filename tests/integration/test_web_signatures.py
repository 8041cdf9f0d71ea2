"""Callbacks whose signature is not right: refused always, recorded within limits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import requests

from interface.paytabs import sign_body
from interface.web.incident_limit import IN_ALL_MAX, PER_ADDRESS_MAX, IncidentLimit
from tests.e2e.house import House, house_on
from tests.integration.simulator_merchant import KEY

WAIT_SECONDS = 10


@pytest.fixture(scope="module")
def home(postgres_server: Any) -> Iterator[House]:
    with house_on(postgres_server, reconcile_after_seconds=600) as home:
        yield home


class Stopwatch:
    """A clock that stands still until it is moved on."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture(autouse=True)
def stopwatch(home: House) -> Stopwatch:
    """Each test begins with no incident counted."""
    stopwatch = Stopwatch()
    context = home.app.extensions["paysaga"]
    home.app.extensions["paysaga"] = replace(context, incident_limit=IncidentLimit(stopwatch))
    return stopwatch


BODY = b'{"tran_ref":"TST1"}'
GOOD = sign_body(KEY, BODY)


@pytest.mark.parametrize(
    ("signature", "reason"),
    [
        (None, "signature_missing"),
        ("", "signature_missing"),
        ("x", "signature_wrong"),
        (GOOD[:-1], "signature_wrong"),
        (GOOD + "0", "signature_wrong"),
        (GOOD.upper(), "signature_wrong"),
        (f"sha256={GOOD}", "signature_wrong"),
        (f"{GOOD}, {GOOD}", "signature_wrong"),
        ("0" * 64, "signature_wrong"),
        (sign_body("another-key", BODY), "signature_wrong"),
        ("\xe9" * 64, "signature_wrong"),
    ],
)
def test_a_signature_that_is_not_right_is_refused_and_recorded(
    home: House, signature: str | None, reason: str
) -> None:
    before = home.recorded()
    headers = {"Content-Type": "application/json"}
    if signature is not None:
        headers["Signature"] = signature.encode("latin-1")  # type: ignore[assignment]
    answer = requests.post(
        f"{home.url}/v1/webhooks/paytabs", data=BODY, headers=headers, timeout=WAIT_SECONDS
    )
    assert answer.status_code == 401
    assert answer.json()["code"] == "invalid_signature"
    assert home.recorded() == before | {"Operations": before["Operations"] + 1}
    event = home.events_of("Operations")[-1]
    assert event.event_type == "security.event"
    assert (event.kind, event.detail) == ("webhook_signature", {"reason": reason})
    assert event.ip_address == "127.0.0.1"


def test_two_signature_headers_are_refused(home: House) -> None:
    answer = home.app.test_client().post(
        "/v1/webhooks/paytabs", data=BODY, headers=[("Signature", GOOD), ("Signature", "0" * 64)]
    )
    assert answer.status_code == 401


def unsigned(home: House, address: str) -> int:
    answer = home.app.test_client().post(
        "/v1/webhooks/paytabs", data=BODY, environ_base={"REMOTE_ADDR": address}
    )
    return int(answer.status_code)


def test_a_flood_of_unsigned_callbacks_is_counted_and_not_recorded(
    home: House, stopwatch: Stopwatch
) -> None:
    before = home.recorded()
    sent = PER_ADDRESS_MAX + 5
    assert [unsigned(home, "203.0.113.5") for _ in range(sent)] == [401] * sent
    assert home.recorded() == before | {"Operations": before["Operations"] + PER_ADDRESS_MAX}
    assert unsigned(home, "203.0.113.6") == 401
    assert home.events_of("Operations")[-1].detail == {"reason": "signature_missing"}
    stopwatch.seconds = 60
    assert unsigned(home, "203.0.113.5") == 401
    event = home.events_of("Operations")[-1]
    assert event.ip_address == "203.0.113.5"
    assert event.detail == {"reason": "signature_missing", "suppressed": 5}


def test_a_flood_from_many_addresses_is_not_recorded_either(home: House) -> None:
    before = home.recorded()
    sent = IN_ALL_MAX + 5
    assert [unsigned(home, f"203.0.113.{number}") for number in range(sent)] == [401] * sent
    assert home.recorded() == before | {"Operations": before["Operations"] + IN_ALL_MAX}
