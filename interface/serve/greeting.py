"""What `serve` prints when everything runs: addresses, key, and a first payment to paste."""

import shlex

from interface.serve.plan import Plan

SAMPLE_BODY = '{"amount": 149.50, "currency": "SAR", "description": "Order 1001"}'
TEST_CARD = "4111 1111 1111 1111"
TEST_CVV = "123"


def greeting(plan: Plan) -> str:
    """The text for people, ending with a line break."""
    settings = plan.settings
    url, key = settings.local_url, settings.api_keys[0]
    gateway = "simulator" if plan.has_simulator else "gateway"
    return "\n".join(
        [
            "",
            "PaySaga is running.",
            f"  API        {url}   (documentation: {url}/docs)",
            f"  {gateway:<10} {settings.gateway_url}",
            f"  database   {'embedded PostgreSQL' if plan.has_database else 'as configured'}",
            f"  data       {settings.data_dir}",
            f"  API key    {key.secret.get_secret_value()}   ({key.name}, {key.role})",
            "",
            "Create a payment:",
            "",
            curl_line(url, key.secret.get_secret_value()),
            "",
            *_how_to_pay(plan),
            "Press Ctrl-C to stop.",
            "",
        ]
    )


def curl_line(url: str, secret: str) -> str:
    """A command that creates a payment, ready for a shell."""
    return " \\\n  ".join(
        [
            f"curl -sS -X POST {shlex.quote(f'{url}/v1/payments')}",
            f"-H {shlex.quote(f'Authorization: Bearer {secret}')}",
            "-H 'Content-Type: application/json'",
            f"-d {shlex.quote(SAMPLE_BODY)}",
        ]
    )


def _how_to_pay(plan: Plan) -> list[str]:
    page = "Then open the address in `nextAction.url` of the answer in a browser: it is the page"
    if not plan.has_simulator:
        return [page, "on which the customer pays.", ""]
    return [
        page,
        f"on which the customer pays. Test card {TEST_CARD}, CVV {TEST_CVV}, any later date.",
        "",
    ]
