"""A local PayTabs for developers and tests: the same HTTP, no account and no real money."""

from __future__ import annotations

from interface.simulator.app import create_simulator
from interface.simulator.config import SimulatorConfig
from interface.simulator.server import SimulatorServer

__all__ = ["SimulatorConfig", "SimulatorServer", "create_simulator"]
