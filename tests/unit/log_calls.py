"""Finds every log line that the code can write: its name, its levels and its fields."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.unit.docs_tables import ROOT

LEVELS = {"debug", "info", "warning", "error", "exception"}
ALWAYS = {"timestamp", "level", "logger", "role", "event"}
"""Fields that every line has."""
COMPUTED = {
    "request": {"error", "info", "debug"},
    "saga_transition": {"error", "warning", "info", "debug"},
    "circuit_changed": {"warning", "info"},
}
"""The levels of lines whose level is not in their text."""


@dataclass
class LogLine:
    """What the code says of lines of one name."""

    levels: set[str] = field(default_factory=set)
    fields: set[str] = field(default_factory=set)


def log_lines() -> dict[str, LogLine]:
    """Every line by its name."""
    found: dict[str, LogLine] = {}
    for folder in ("domain", "application", "system", "interface"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for level, name, fields in _calls(ast.parse(path.read_text())):
                line = found.setdefault(name, LogLine())
                line.levels |= COMPUTED[name] if level is None else {level}
                line.fields |= fields
    return found


def _calls(tree: ast.AST) -> Iterator[tuple[str | None, str, set[str]]]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        level = _level(node.func)
        texts = [each.value for each in node.args if isinstance(each, ast.Constant)]
        if level != "" and texts:
            yield level, str(texts[0]), {each.arg for each in node.keywords if each.arg}


def _level(function: ast.expr) -> str | None:
    """The level of a call; None when it is computed, empty when it is no log call."""
    if isinstance(function, ast.Name):
        return None if function.id == "write" else ""
    if not isinstance(function, ast.Attribute) or not isinstance(function.value, ast.Name):
        return ""
    if function.value.id != "log":
        return ""
    name = function.attr
    return None if name == "log" else "error" if name == "exception" else name
