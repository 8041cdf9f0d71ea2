"""Contracts for tests in the test mode."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

from application.contracts import NewContract
from domain.client import ClientInfo
from domain.contract import Contract, Payee, Terms
from domain.money import money
from system.testing import SystemUnderTest

AGREED = "rent-1"
PERCENT = Decimal("3.3333")
CONTRACT = Contract.create_id(AGREED)


def agree(s: SystemUnderTest, *days: int, percent: str = "2.5") -> Contract:
    """A contract with an instalment of 100.01 SAR so many days from now each."""
    today = s.clock.now().date()
    terms = [Terms(today + timedelta(days=day), money("100.01", "SAR")) for day in days]
    payee, client = Payee("p-1", "Landlord"), ClientInfo(name="Ada", email="ada@example.com")
    with s.acting("test"):
        contract = s.applications.contracts.create(
            NewContract(AGREED, "Rent", "SAR", payee, Decimal(percent), terms, client)
        )
    s.run()
    return contract


def agree_without_instalments(s: SystemUnderTest) -> None:
    """A contract of which nothing falls due any more; payments that name it yield earnings."""
    contract = agree(s, 30, percent=str(PERCENT))
    with s.acting("test"):
        s.applications.contracts.cancel(contract.id, "only for its earnings")
    s.run()


def instalments(s: SystemUnderTest) -> list[Any]:
    """The instalments as they are now."""
    return s.applications.contracts.get(CONTRACT).instalments


def contract_of_every_fate(s: SystemUnderTest) -> None:
    """One instalment is paid and refunded in part, one is not paid, the rest is called off."""
    agree(s, 0, 1, 30)
    paid = instalments(s)[0].payment_ids[0]
    s.gateway.pay(paid)
    s.run()
    s.refund_payment(paid, money("1.00", "SAR"))
    s.wait(timedelta(days=3))
    with s.acting("test"):
        s.applications.contracts.cancel(CONTRACT, "moved out")
    s.run()
