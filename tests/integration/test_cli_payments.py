"""`paysaga payments` against the real web app, and against servers that misbehave."""

import json
import socket
import threading
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import uuid4

import pytest
from click.testing import Result

from interface.embedded_postgres import EmbeddedPostgres
from interface.serve.data_folder import DataFolder, Running
from tests.e2e.house import free_port
from tests.integration.cli_kit import run, settings_env
from tests.integration.role_process import answers, role_process, wait_until


@pytest.fixture(scope="module")
def api(
    postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """A web role without a worker; the environment of the commands that talk to it."""
    folder = tmp_path_factory.mktemp("api")
    name = f"test_{uuid4().hex}"
    settings = settings_env(
        folder,
        database_url=postgres_server.ensure_database(name),
        port=free_port(),
        web_workers=1,
        create_wait_ms=0,
    )
    url = f"http://127.0.0.1:{settings['PAYSAGA_PORT']}"
    with role_process("web", settings, folder):
        wait_until(lambda: answers(f"{url}/healthz"), "the web role answers")
        yield settings_env(folder, url=url)
    postgres_server.drop_database(name)


class Flaky(BaseHTTPRequestHandler):
    """Breaks the first connection after reading the request, and answers the second."""

    seen: list[str | None]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.seen.append(self.headers["Idempotency-Key"])
        if len(self.seen) == 1:
            self.connection.close()
            return
        self.send_response(201)
        self.end_headers()
        self.wfile.write(b'{"paymentId": "p-1", "amount": 1.10}')

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def create(env: dict[str, str], amount: str = "149.50", *options: str) -> dict[str, object]:
    result = run(
        "payments", "create", amount, "SAR", "--description", "Tea", *options, "--json", env=env
    )
    assert result.exit_code == 0, result.stderr
    document: dict[str, object] = json.loads(result.stdout, parse_float=Decimal)
    return document


def test_a_payment_is_created_with_everything_that_was_given(api: dict[str, str]) -> None:
    payment = create(
        api,
        "149.50",
        *("--client-name", "Test Customer", "--client-email", "customer@example.com"),
        *("--callback-url", "https://shop.example.com/paid", "--contract-id", "c-7"),
        *("--metadata", "order=1001", "--metadata", "note=a=b"),
        *("--client-phone", "+966500000000", "--payment-method", "mada", "--manual-capture"),
    )
    assert payment["paymentMethod"] == "mada"
    assert payment["captureMethod"] == "manual"
    assert payment["amount"] == Decimal("149.50")
    assert payment["metadata"] == {"order": "1001", "note": "a=b"}
    assert payment["contractId"] == "c-7"
    assert payment["callbackUrl"] == "https://shop.example.com/paid"
    client = payment["clientInfo"]
    assert isinstance(client, dict)
    assert client["email"] == "customer@example.com"
    assert client["phone"] == "+966500000000"


def test_people_get_one_field_a_line(api: dict[str, str]) -> None:
    payment_id = create(api)["paymentId"]
    result = run("payments", "show", str(payment_id), env=api)
    assert result.exit_code == 0
    assert f"Payment         {payment_id}" in result.stdout
    assert "Amount          149.50 SAR" in result.stdout


def test_a_past_version_is_shown(api: dict[str, str]) -> None:
    payment_id = str(create(api)["paymentId"])
    run("payments", "cancel", payment_id, env=api)
    now = run("payments", "show", payment_id, "--json", env=api)
    then = run("payments", "show", payment_id, "--version", "1", "--json", env=api)
    assert json.loads(now.stdout)["status"] == "cancelled"
    assert json.loads(then.stdout)["status"] == "initiated"


def test_version_and_time_together_are_wrong_usage(api: dict[str, str]) -> None:
    result = run("payments", "show", "x", "--version", "1", "--as-of", "2026-01-01", env=api)
    assert result.exit_code == 2


def test_a_payment_is_cancelled_with_a_reason(api: dict[str, str]) -> None:
    payment_id = str(create(api)["paymentId"])
    result = run("payments", "cancel", payment_id, "--reason", "changed_mind", env=api)
    assert result.exit_code == 0
    assert "changed_mind" in result.stdout
    assert "cancelled" in result.stdout


def test_the_same_idempotency_key_creates_one_payment(api: dict[str, str]) -> None:
    first = create(api, "10.00", "--idempotency-key", "k-1")
    second = create(api, "10.00", "--idempotency-key", "k-1")
    assert first["paymentId"] == second["paymentId"]


def test_two_creations_without_a_key_are_two_payments(api: dict[str, str]) -> None:
    assert create(api)["paymentId"] != create(api)["paymentId"]


def test_a_payment_can_be_created_without_waiting(api: dict[str, str]) -> None:
    assert create(api, "10.00", "--no-wait")["status"] == "initiated"


def test_an_empty_list_is_valid_json(api: dict[str, str]) -> None:
    result = run("payments", "list", "--status", "refunded", "--json", env=api)
    assert result.stdout == '{"data":[],"nextCursor":null}\n'


def test_a_refusal_names_its_code_and_each_wrong_field(api: dict[str, str]) -> None:
    result = run("payments", "create", "1.00", "SAR", "--description", "x" * 200, env=api)
    assert result.exit_code == 1
    assert "(validation_error, correlation id " in result.stderr
    assert "  /description: " in result.stderr
    assert result.stdout == ""


def test_an_unknown_payment_is_told(api: dict[str, str]) -> None:
    result = run("payments", "show", "00000000-0000-4000-8000-000000000000", env=api)
    assert result.exit_code == 1
    assert "not_found" in result.stderr


def test_a_wrong_key_is_told(api: dict[str, str]) -> None:
    result = run("payments", "list", env={**api, "PAYSAGA_API_KEY": "sk_wrong"})
    assert result.exit_code == 1
    assert "unauthorized" in result.stderr


@pytest.mark.parametrize(
    "amount",
    ["12,50", "NaN", "Infinity", "ten", "", "1_0", "\u0661\u0660", "1e1", "10 ", "+10", ".5"],
)
def test_an_amount_that_is_no_number_is_wrong_usage(amount: str, tmp_path: Path) -> None:
    result = run(
        "payments", "create", amount, "SAR", "--description", "Tea", env=settings_env(tmp_path)
    )
    assert result.exit_code == 2
    assert "is no amount" in result.stderr


def test_metadata_without_a_sign_is_wrong_usage(tmp_path: Path) -> None:
    arguments = ("payments", "create", "1", "SAR", "--description", "Tea", "--metadata", "order")
    result = run(*arguments, env=settings_env(tmp_path))
    assert result.exit_code == 2


def test_when_nobody_answers_the_advice_is_to_start_it(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        result = run("payments", "list", env=settings_env(tmp_path, url=url, api_key="sk_some"))
    assert result.exit_code == 1
    assert "start `paysaga serve`, or set PAYSAGA_URL" in result.stderr


def listed_over_http(env: dict[str, str], folder: Path, url: str) -> Result:
    """`payments list` while a `serve` says that it runs on the folder at this address."""
    with DataFolder(folder) as data:
        data.tell(Running(1, url, None, None))
        return run("payments", "list", "--json", env=env)


def test_in_the_folder_of_a_running_serve_its_own_address_is_called(
    api: dict[str, str], tmp_path: Path
) -> None:
    key = (Path(api["PAYSAGA_DATA_DIR"]) / "api_key").read_text()
    env = settings_env(tmp_path, api_key=key)
    result = listed_over_http(env, tmp_path, api["PAYSAGA_URL"])
    assert result.exit_code == 0, result.stderr
    assert "data" in json.loads(result.stdout)


def test_an_address_that_is_set_goes_before_the_one_of_serve(
    api: dict[str, str], tmp_path: Path
) -> None:
    key = (Path(api["PAYSAGA_DATA_DIR"]) / "api_key").read_text()
    env = settings_env(tmp_path, api_key=key, url=api["PAYSAGA_URL"])
    assert listed_over_http(env, tmp_path, "http://127.0.0.1:9").exit_code == 0


def test_without_a_key_the_advice_is_to_set_one(tmp_path: Path) -> None:
    result = run("payments", "list", env=settings_env(tmp_path))
    assert result.exit_code == 1
    assert "PAYSAGA_API_KEY: not set" in result.stderr


@pytest.mark.parametrize(
    "url", ["localhost:8080", "ftp://127.0.0.1", "http://", "http://x:99999", "http://\udcff"]
)
def test_an_address_that_is_none_is_told(url: str, tmp_path: Path) -> None:
    result = run("payments", "list", env=settings_env(tmp_path, url=url, api_key="sk_some"))
    assert result.exit_code == 1
    assert "expected http(s)://host[:port]" in result.stderr


@pytest.mark.parametrize("key", ["sk_first\nsk_second", "🎉", "sk_\udcff"])
def test_a_key_that_cannot_be_sent_is_told_in_one_line_and_not_shown(
    key: str, tmp_path: Path
) -> None:
    result = run("payments", "list", env=settings_env(tmp_path, api_key=key))
    assert result.exit_code == 1
    assert result.stderr.startswith("PAYSAGA_API_KEY: (hidden) is wrong: ")
    assert result.stderr.count("\n") == 1
    assert "sk_" not in result.output


def test_a_kept_key_that_cannot_be_sent_is_named_by_its_file(tmp_path: Path) -> None:
    (tmp_path / "api_key").write_text("sk_first\nsk_second\n")
    result = run("payments", "list", env=settings_env(tmp_path))
    assert result.exit_code == 1
    assert result.stderr.startswith(f"'{tmp_path / 'api_key'}': (hidden) is wrong: ")
    assert "sk_" not in result.output


@pytest.mark.parametrize("key", ["🎉", "a\nb", "", " "])
@pytest.mark.parametrize(
    "command",
    [
        ("payments", "create", "1.00", "SAR", "--description", "Tea"),
        ("payments", "capture", "p-1"),
        ("payments", "refund", "p-1"),
        ("contracts", "cancel", "c-1"),
        ("contracts", "pay", "c-1", "1"),
        ("confirmations", "redeliver", "m-1"),
        ("webhooks", "replay", "w-1"),
    ],
)
def test_an_idempotency_key_that_cannot_be_sent_is_wrong_usage(
    command: tuple[str, ...], key: str, tmp_path: Path
) -> None:
    env = settings_env(tmp_path, api_key="sk_some", url="http://127.0.0.1:9")
    result = run(*command, "--idempotency-key", key, env=env)
    assert result.exit_code == 2, result.output
    assert "1 to 255 printable ASCII" in result.stderr


@pytest.mark.parametrize(
    "command",
    [
        ("payments", "create", "1.00", "SAR", "--description", "\udcff\udcfe"),
        ("payments", "list", "--text", "\udcff\udcfe"),
        ("keys", "revoke", "\udcff\udcfe"),
        ("\udcff\udcfe",),
    ],
)
def test_an_argument_that_is_no_text_is_wrong_usage(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    result = run(*command, env=settings_env(tmp_path, api_key="sk_some", url="http://127.0.0.1:9"))
    assert result.exit_code == 2, result.output
    assert "Error: '\\udcff\\udcfe' is no UTF-8 text" in result.stderr


def test_a_broken_connection_is_tried_once_more_with_the_same_key(tmp_path: Path) -> None:
    handler = type("Handler", (Flaky,), {"seen": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        env = settings_env(
            tmp_path, url=f"http://127.0.0.1:{server.server_port}", api_key="sk_some"
        )
        result = run("payments", "create", "1.10", "SAR", "--description", "Tea", "--json", env=env)
        server.shutdown()
        thread.join()
    assert result.exit_code == 0, result.stderr
    assert result.stdout == '{"paymentId": "p-1", "amount": 1.10}\n'
    assert len(handler.seen) == 2
    assert handler.seen[0] == handler.seen[1]


def test_text_that_would_steer_the_terminal_is_shown_harmless(api: dict[str, str]) -> None:
    arguments = ("payments", "create", "1.00", "SAR", "--description", "\x1b[2Jgone\u202e")
    result = run(*arguments, env=api)
    assert "\\u001b[2Jgone\\u202e" in result.stdout
    assert "\x1b" not in result.stdout
