"""The manual says nothing that the code does not: links, names, tables and examples are checked."""

import ast
import importlib
import importlib.util
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from pydantic.fields import FieldInfo

from domain.event import PaymentEventType
from interface.cli.program import program
from interface.settings import OTHER_VARIABLES, PREFIX, Settings, load_settings
from interface.web.app import create_app
from tests.unit.docs_tables import DOCS, PAGES, ROOT, TABLES, event_classes, pipes, place
from tests.unit.log_calls import LEVELS, log_lines

PAGES_OF_MANUAL = [
    ROOT / "README.md",
    *sorted(DOCS.glob("*.md")),
    *sorted((DOCS / "decisions").glob("*.md")),
]
BLOCK = re.compile(r"^```(\w*)( runnable)?\n(.*?)^```$", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
NOT_OURS = {"tests/fixtures/responses"}
"""Files in other projects that the manual names."""
ADDRESS = re.compile(r"[a-z]+:")
FOLDERS = r"(?:domain|application(?!/(?:json|problem))|system|interface|tests|docs)"
SOURCE_FILE = re.compile(rf"(?<![\w./-]){FOLDERS}/[\w./*-]*")
SOURCE_NAME = re.compile(rf"(?<![\w./]){FOLDERS}\.\w[\w.]*")
COMMAND = re.compile(r"\bpaysaga ([a-z][a-z-]*)(?: ([a-z][a-z-]*)\b)?")
COMMAND_WITH_OPTIONS = re.compile(
    r"\bpaysaga ([a-z][a-z-]*(?: [a-z][a-z-]*\b)?)([^\n|;&`]*--[^\n|;&`]*)"
)
TARGET = re.compile(r"^\$? ?make ([a-z-]+)", re.MULTILINE)
SETTING = re.compile(rf"\b{PREFIX}[A-Z_]*[A-Z]\b(?!_?\*)")
EVENT_TYPE = re.compile(
    r"(?:payment|saga|gateway|webhook|confirmation|circuit_breaker|security)\.[a-z_]+"
)

every_page = pytest.mark.parametrize(
    "page", PAGES_OF_MANUAL, ids=lambda page: str(page.relative_to(ROOT))
)


def blocks(page: Path, language: str) -> list[str]:
    """The code blocks of a page in one language."""
    return [text for name, _, text in BLOCK.findall(page.read_text()) if name == language]


def inline_code(page: Path) -> list[str]:
    """The code within a page's sentences and tables."""
    return INLINE.findall(BLOCK.sub("", page.read_text()))


def all_code(page: Path) -> str:
    """All code of a page, a line for each piece."""
    return "\n".join(
        [*inline_code(page), *(text for _, _, text in BLOCK.findall(page.read_text()))]
    )


def anchors(page: Path) -> set[str]:
    """The anchors that a page's headings have on the usual sites."""
    headings = re.findall(r"^#+ (.+)$", BLOCK.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def rows_of(page: Path, first_cell: str) -> Iterator[list[str]]:
    """The cells of every table row whose first cell matches, without backticks."""
    for line in page.read_text().splitlines():
        cells = [cell.strip().replace("`", "") for cell in line.strip("| ").split(" | ")]
        if line.startswith("| ") and re.match(first_cell, cells[0]):
            yield cells


@every_page
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for link in LINK.findall(BLOCK.sub("", page.read_text())):
        if ADDRESS.match(link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        assert target.exists(), f"{link}: there is no {target}"
        assert not anchor or anchor in anchors(target), f"{link}: no such heading"


@every_page
def test_every_file_that_is_named_exists(page: Path) -> None:
    for name in (name for code in inline_code(page) for name in SOURCE_FILE.findall(code)):
        found = list(ROOT.glob(name)) if "*" in name else [ROOT / name]
        exists = any(path.exists() for path in found)
        assert exists or name in NOT_OURS, f"there is no {name}"


@every_page
def test_every_module_and_name_in_the_text_exists(page: Path) -> None:
    for code in inline_code(page):
        for name in SOURCE_NAME.findall(code):
            resolve(name.rstrip("."))


def resolve(name: str) -> Any:
    """What a dotted name stands for.

    Raises:
        AssertionError: nothing has this name.
    """
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        module = ".".join(parts[:length])
        try:
            is_module = importlib.util.find_spec(module) is not None
        except ModuleNotFoundError:
            continue
        if is_module:
            found = importlib.import_module(module)
            for part in parts[length:]:
                assert hasattr(found, part), f"{name}: there is no {part}"
                found = getattr(found, part)
            return found
    raise AssertionError(f"there is no {name}")


@every_page
def test_every_command_that_is_named_exists(page: Path) -> None:
    for first, second in COMMAND.findall(all_code(page)):
        command = program.get_command(click.Context(program), first)
        assert command is not None, f"there is no command `paysaga {first}`"
        if isinstance(command, click.Group) and second:
            assert second in command.commands, f"there is no command `paysaga {first} {second}`"


@every_page
def test_every_option_of_a_command_exists(page: Path) -> None:
    for words, options in COMMAND_WITH_OPTIONS.findall(all_code(page)):
        known = {name for each in commands_of(words.split()) for name in each.opts}
        for option in re.findall(r"--[a-z][a-z-]*", options):
            assert option in known | {"--help"}, f"`paysaga {words}` has no {option}"


def commands_of(words: list[str]) -> list[click.Parameter]:
    """The parameters of the command that these words begin with."""
    command: click.Command = program
    for word in words:
        if not isinstance(command, click.Group):
            break
        found = command.get_command(click.Context(command), word)
        assert found is not None, f"there is no command `paysaga {' '.join(words)}`"
        command = found
    return command.params


@every_page
def test_every_make_target_that_is_named_exists(page: Path) -> None:
    targets = set(TARGET.findall(all_code(page)))
    if targets:
        known = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert targets <= set(known)


@every_page
def test_every_setting_that_is_named_exists(page: Path) -> None:
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields} | OTHER_VARIABLES
    wrong_on_purpose = {f"{PREFIX}PORTT"} if page.name == "configuration.md" else set()
    assert set(SETTING.findall(all_code(page))) <= known | wrong_on_purpose


@every_page
def test_every_event_type_that_is_named_exists(page: Path) -> None:
    named = {code for code in inline_code(page) if EVENT_TYPE.fullmatch(code)}
    assert named <= {*PaymentEventType}


@every_page
def test_the_imports_of_every_python_block_exist(page: Path) -> None:
    for block in blocks(page, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module:
                module = importlib.import_module(node.module)
                assert all(hasattr(module, alias.name) for alias in node.names)


RUNNABLE = [
    pytest.param(text, id=f"{page.name}-{number}")
    for page in PAGES_OF_MANUAL
    for number, (_, runnable, text) in enumerate(BLOCK.findall(page.read_text()))
    if runnable
]


@pytest.mark.parametrize("example", RUNNABLE)
def test_every_runnable_example_runs(example: str) -> None:
    exec(compile(example, "example", "exec"), {"__name__": "example"})


def test_the_receiver_in_node_verifies_the_published_vector(tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no node here")
    [example] = blocks(DOCS / "webhooks.md", "javascript")
    (tmp_path / "receiver.js").write_text(example)
    (tmp_path / "try.js").write_text(TRY_IN_NODE)
    done = subprocess.run([node, "try.js"], cwd=tmp_path, capture_output=True, timeout=60)
    assert json.loads(done.stdout) == [True, False, False, False, False]


TRY_IN_NODE = """
const { isFromPaySaga } = require("./receiver.js");
const good = "v1,AAAA v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
const headers = (signature) => ({
  "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
  "webhook-timestamp": "1614265330",
  "webhook-signature": signature,
});
const body = Buffer.from('{"test": 2432232314}');
console.log(JSON.stringify([
  isFromPaySaga(headers(good), body, 1614265331),
  isFromPaySaga(headers(good), Buffer.from("{}"), 1614265331),
  isFromPaySaga(headers(good), body, 1614265931),
  isFromPaySaga(headers(good.replaceAll("v1", "v2")), body, 1614265331),
  isFromPaySaga({}, body),
]));
"""


def test_the_manual_has_runnable_examples() -> None:
    assert len(RUNNABLE) >= 5


@pytest.mark.parametrize("name", TABLES)
def test_generated_tables_are_fresh(name: str) -> None:
    found = place(name).search(PAGES[name].read_text())
    assert found is not None
    assert found[2] == TABLES[name](), "run `python -m tests.unit.docs_tables`"


def test_every_event_type_has_a_class() -> None:
    assert {cls.event_type for cls in event_classes()} == {*PaymentEventType}


def test_the_picture_in_the_readme_is_the_system() -> None:
    [picture] = [text for text in blocks(ROOT / "README.md", "mermaid") if "PAYSAGA" in text]
    assert set(re.findall(r"^ +(\w+) --> (\w+)$", picture, re.MULTILINE)) == pipes()


def test_every_page_is_in_the_readme() -> None:
    named = set(LINK.findall((ROOT / "README.md").read_text()))
    assert {f"docs/{page.name}" for page in DOCS.glob("*.md")} <= named


def test_every_page_is_in_the_index() -> None:
    named = set(LINK.findall((DOCS / "README.md").read_text()))
    assert {page.name for page in DOCS.glob("*.md")} - {"README.md"} <= named
    decisions = set(LINK.findall((DOCS / "decisions" / "README.md").read_text()))
    assert {page.name for page in (DOCS / "decisions").glob("0*.md")} == decisions


def shown_default(field: FieldInfo) -> str:
    """A default as the manual writes it."""
    if field.default in (None, ()):
        return "none"
    if isinstance(field.default, bool):
        return str(field.default).lower()
    return str(field.default)


def shown_range(field: FieldInfo) -> str | None:
    """The bounds of a number as the manual writes them; None where there are none."""
    bounds = {
        name: getattr(limit, name)
        for limit in field.metadata
        for name in ("ge", "le")
        if hasattr(limit, name)
    }
    if not bounds:
        return None
    return f"{bounds['ge']} to {bounds['le']}" if "le" in bounds else f"from {bounds['ge']}"


def documented_settings() -> dict[str, list[str]]:
    """The rows of the tables of settings, by name."""
    rows = rows_of(DOCS / "configuration.md", PREFIX)
    return {cells[0]: cells[1:] for cells in rows if len(cells) == 4}


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_documented_with_its_default_and_its_bounds(name: str) -> None:
    field = Settings.model_fields[name]
    default, values, meaning = documented_settings()[f"{PREFIX}{name.upper()}"]
    assert default == shown_default(field)
    assert shown_range(field) in (None, values)
    assert meaning


def test_no_setting_is_documented_that_does_not_exist() -> None:
    assert set(documented_settings()) == {
        f"{PREFIX}{name.upper()}" for name in Settings.model_fields
    }


def test_every_variable_that_is_no_setting_is_documented() -> None:
    rows = rows_of(DOCS / "configuration.md", PREFIX)
    assert {cells[0] for cells in rows if len(cells) == 2} == OTHER_VARIABLES


def test_every_endpoint_is_documented_with_its_role(database_url: str) -> None:
    app = create_app(load_settings(database_url=database_url))
    try:
        served = {
            f"{method} {camel_case_parameters(rule.rule)}": str(
                getattr(app.view_functions[rule.endpoint], "needed_role", "none")
            )
            for rule in app.url_map.iter_rules()
            for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
            if rule.endpoint != "static"
        }
    finally:
        app.extensions["paysaga"].close()
    documented = rows_of(DOCS / "api-endpoints.md", "(GET|POST|PUT|PATCH|DELETE) /")
    assert {cells[0]: cells[1].split(":")[0] for cells in documented} == served


def camel_case_parameters(rule: str) -> str:
    """`/v1/payments/<uuid:payment_id>` as `/v1/payments/{paymentId}`."""
    named = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule)
    return re.sub(r"_(\w)", lambda match: match[1].upper(), named)


def test_every_log_line_is_in_the_manual_with_its_levels_and_fields() -> None:
    written = {name: (line.levels, line.fields or {"none"}) for name, line in log_lines().items()}
    rows = rows_of(DOCS / "monitoring-and-metrics.md", r"[a-z_]+$")
    documented = {
        cells[0]: (set(cells[1].split(", ")), set(cells[2].split(", ")))
        for cells in rows
        if len(cells) == 4 and set(cells[1].split(", ")) <= LEVELS
    }
    assert documented == written


def test_every_kind_of_security_event_is_in_the_manual() -> None:
    code = "".join(
        path.read_text()
        for folder in ("system", "interface")
        for path in (ROOT / folder).rglob("*.py")
    )
    calls = r'(?:kind=|note_wrong_signature\(|record_incident\(\s*|_record\(applications, )"(\w+)"'
    rows = rows_of(DOCS / "monitoring-and-metrics.md", r"\w+$")
    severities = {"low", "medium", "high"}
    documented = {cells[0] for cells in rows if len(cells) == 4 and cells[1] in severities}
    assert documented == set(re.findall(calls, code))
