"""The whole system in one thread, for your tests: `with SystemUnderTest() as s:` (design 4)."""

from system.testing.gateway_double import GatewayDouble
from system.testing.merchant_double import MerchantDouble
from system.testing.system_under_test import SystemUnderTest
from system.testing.time_and_ids import SeededIds, VirtualClock

__all__ = ["GatewayDouble", "MerchantDouble", "SeededIds", "SystemUnderTest", "VirtualClock"]
