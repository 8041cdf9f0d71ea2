"""Exports OpenTelemetry traces when an exporter is configured; else nothing of it is loaded."""

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING

from interface.settings import InvalidSettings

if TYPE_CHECKING:
    from interface.tracing import Tracing

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
HTTP = "http/protobuf"
LIBRARIES = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")


def open_tracing(role: str) -> "Tracing | None":
    """Begins to export spans as the standard variables of OpenTelemetry say; None when they name
    no collector, or turn traces off.

    To be called in the process that makes the spans, after it was forked.

    Raises:
        InvalidSettings: see `check_tracing`.
    """
    check_tracing()
    if not _is_wanted():
        return None
    from interface.tracing import Tracing

    return Tracing(role)


def check_tracing() -> None:
    """Does nothing when `open_tracing` can be called.

    Raises:
        InvalidSettings: OpenTelemetry is not installed, or another protocol is asked for.
    """
    if not _is_wanted():
        return
    problems = [
        f"{name}: '{os.environ[name]}' is wrong: expected {HTTP}"
        for name in PROTOCOLS
        if os.environ.get(name) not in {None, "", HTTP}
    ]
    if not all(map(_is_installed, LIBRARIES)):
        problems.append(f"{ENDPOINTS[0]}: set, but OpenTelemetry is missing: install paysaga[otel]")
    if problems:
        raise InvalidSettings(problems)


def _is_wanted() -> bool:
    is_off = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    is_named = any(os.environ.get(name) for name in ENDPOINTS)
    return is_named and not is_off and os.environ.get("OTEL_TRACES_EXPORTER", "otlp") == "otlp"


def _is_installed(library: str) -> bool:
    try:
        return find_spec(library) is not None
    except ModuleNotFoundError:
        return False
