"""What docs/circuit-breaker-patterns.md says is so: examples run, settings are the real ones."""

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

from application.circuit_breaker import CircuitBreakerConfig

PAGE = Path(__file__).parents[2] / "docs" / "circuit-breaker-patterns.md"
SETTING = re.compile(r"^\| `(\w+)` \| `PAYSAGA_BREAKER_(\w+)` \| [^|]+ \| (\w+) \|", re.MULTILINE)


def test_the_examples_on_the_page_run() -> None:
    examples = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert len(examples) >= 6
    names: dict[str, Any] = {"__name__": "page"}
    for example in examples:
        exec(compile(example, str(PAGE), "exec"), names)


def test_the_page_names_every_setting_with_its_default() -> None:
    listed = {
        field: (variable, default) for field, variable, default in SETTING.findall(PAGE.read_text())
    }
    assert listed == {
        field.name: (field.name.upper(), str(field.default).lower())
        for field in fields(CircuitBreakerConfig)
        if field.name != "name"
    }
