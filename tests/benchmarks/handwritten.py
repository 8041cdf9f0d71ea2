"""The service one would write by hand without events: the measure of what the events cost.

One row per payment, updated in place, and one audit row per step; the gateway is called inside the
request. Run `python -m tests.benchmarks.handwritten` with the settings of `paysaga web`; it runs
under the same gunicorn settings.
"""

import hmac
import json
import threading
from decimal import Decimal
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid4

import requests
import simplejson
from flask import Flask, Response, request
from psycopg import Connection
from psycopg.rows import DictRow, dict_row
from psycopg_pool import ConnectionPool

from interface.roles.web import WebServer
from interface.settings import Settings, load_settings

SCHEMA = """
CREATE TABLE IF NOT EXISTS hand_payments (
    payment_id uuid PRIMARY KEY, status text NOT NULL, amount numeric NOT NULL,
    currency text NOT NULL, description text NOT NULL, transaction_ref text, page_url text,
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS hand_payments_by_status
    ON hand_payments (status, created_at DESC, payment_id DESC);
CREATE TABLE IF NOT EXISTS hand_audit (
    audit_id bigserial PRIMARY KEY, payment_id uuid NOT NULL, step text NOT NULL,
    detail jsonb NOT NULL, at timestamptz NOT NULL DEFAULT now()
);
"""
INSERT = (
    "INSERT INTO hand_payments (payment_id, status, amount, currency, description) "
    "VALUES (%s, 'initiated', %s, %s, %s)"
)
OPENED = (
    "UPDATE hand_payments SET status = 'processing', transaction_ref = %s, page_url = %s, "
    "updated_at = now() WHERE payment_id = %s RETURNING *"
)
SETTLED = (
    "UPDATE hand_payments SET status = %s, updated_at = now() "
    "WHERE payment_id = %s AND status = 'processing' AND amount = %s AND currency = %s"
)
AUDIT = "INSERT INTO hand_audit (payment_id, step, detail) VALUES (%s, %s, %s)"
ONE = "SELECT * FROM hand_payments WHERE payment_id = %s"
LIST = (
    "SELECT * FROM hand_payments WHERE status = %s "
    "ORDER BY created_at DESC, payment_id DESC LIMIT %s"
)
GATEWAY_TIMEOUT_SECONDS = 15
LIMIT_MAX = 100
CALLBACK_PATH = "/v1/webhooks/paytabs"


class Gateway:
    """PayTabs' page call over connections that are kept open."""

    def __init__(self, settings: Settings) -> None:
        assert settings.paytabs_request_key is not None
        self.key = settings.paytabs_request_key
        self._settings = settings
        self._local = threading.local()

    def open_page(self, payment_id: UUID, amount: Decimal, order: dict[str, Any]) -> dict[str, Any]:
        """The gateway's answer, with `tran_ref` and `redirect_url`."""
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
        body = {
            "profile_id": self._settings.paytabs_profile_id,
            "tran_type": "sale",
            "tran_class": "ecom",
            "cart_id": str(payment_id),
            "cart_description": order["description"],
            "cart_currency": order["currency"],
            "cart_amount": str(amount),
            "callback": f"{self._settings.base_url}{CALLBACK_PATH}",
            "return": f"{self._settings.base_url}/v1/return/paytabs/{payment_id}",
        }
        answer = self._local.session.post(
            f"{self._settings.gateway_url}/payment/request",
            json=body,
            headers={"Authorization": self.key},
            timeout=GATEWAY_TIMEOUT_SECONDS,
        )
        answer.raise_for_status()
        return dict(answer.json())


class HandWritten:
    """The whole service: create, list, and the gateway's callback."""

    def __init__(self, settings: Settings) -> None:
        self._gateway = Gateway(settings)
        self._keys = {f"Bearer {key.secret.get_secret_value()}" for key in settings.api_keys}
        self._pool: ConnectionPool[Connection[DictRow]] = ConnectionPool(
            settings.conninfo,
            min_size=1,
            max_size=settings.database_pool_size,
            kwargs={"row_factory": dict_row},
            open=True,
        )

    def app(self) -> Flask:
        """The Flask app around it."""
        app = Flask(__name__)
        app.before_request(self.authenticate)
        app.add_url_rule("/v1/payments", view_func=self.create, methods=["POST"])
        app.add_url_rule("/v1/payments", view_func=self.show_list)
        app.add_url_rule("/v1/payments/<uuid:payment_id>", view_func=self.show)
        app.add_url_rule(CALLBACK_PATH, view_func=self.notified, methods=["POST"])
        return app

    def authenticate(self) -> Response | None:
        """401 for calls of merchants without a known key."""
        is_callback = request.path == CALLBACK_PATH
        if is_callback or request.headers.get("Authorization") in self._keys:
            return None
        return _answer({"code": "unauthorized"}, 401)

    def create(self) -> Response:
        """Records a payment, has its page opened and records that too."""
        order = simplejson.loads(request.get_data(), use_decimal=True)
        payment_id, amount = uuid4(), Decimal(str(order["amount"])).quantize(Decimal("0.01"))
        with self._pool.connection() as connection:
            values = (payment_id, amount, order["currency"], order["description"])
            connection.execute(INSERT, values)
            _audit(connection, payment_id, "initiated", order)
        page = self._gateway.open_page(payment_id, amount, order)
        with self._pool.connection() as connection:
            opened = (page["tran_ref"], page["redirect_url"], payment_id)
            row = connection.execute(OPENED, opened).fetchone()
            _audit(connection, payment_id, "processing", page)
        return _answer(_document(row or {}), 201)

    def show_list(self) -> Response:
        """Payments of one status, newest first."""
        limit = min(int(request.args.get("limit", 20)), LIMIT_MAX)
        with self._pool.connection() as connection:
            rows = connection.execute(LIST, (request.args["status"], limit)).fetchall()
        return _answer({"data": [_document(row) for row in rows], "nextCursor": None})

    def show(self, payment_id: UUID) -> Response:
        """One payment."""
        with self._pool.connection() as connection:
            row = connection.execute(ONE, (payment_id,)).fetchone()
        return _answer(_document(row), 200) if row else _answer({"code": "not_found"}, 404)

    def notified(self) -> Response:
        """Settles a payment when the callback is signed and its amount is right."""
        body = request.get_data()
        signature = hmac.new(self._gateway.key.encode(), body, sha256).hexdigest()
        if not hmac.compare_digest(signature, request.headers.get("Signature", "")):
            return _answer({"code": "invalid_signature"}, 401)
        report = simplejson.loads(body, use_decimal=True)
        payment_id, amount = UUID(report["cart_id"]), Decimal(report["tran_total"])
        is_paid = report["payment_result"]["response_status"] == "A"
        status = "completed" if is_paid else "failed"
        with self._pool.connection() as connection:
            connection.execute(SETTLED, (status, payment_id, amount, report["tran_currency"]))
            _audit(connection, payment_id, status, report)
        return _answer({})


def _audit(connection: Connection[DictRow], payment_id: UUID, step: str, detail: Any) -> None:
    connection.execute(AUDIT, (payment_id, step, json.dumps(detail, default=str)))


def _document(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "paymentId": str(row["payment_id"]),
        "status": row["status"],
        "amount": row["amount"],
        "currency": row["currency"],
        "description": row["description"],
        "transactionRef": row["transaction_ref"],
        "nextAction": {"type": "redirect", "url": row["page_url"]},
        "createdAt": row["created_at"].isoformat(),
        "updatedAt": row["updated_at"].isoformat(),
    }


def _answer(document: dict[str, Any], status: int = 200) -> Response:
    text = simplejson.dumps(document, use_decimal=True)
    return Response(text, status, content_type="application/json")


class HandWrittenServer(WebServer):
    """Gunicorn with the settings that PaySaga's web role has."""

    def __init__(self, settings: Settings) -> None:
        self._own_settings = settings
        super().__init__(settings)

    def load(self) -> Flask:
        """See `WebServer.load`."""
        return HandWritten(self._own_settings).app()


def main() -> None:
    """Serves until SIGTERM."""
    settings = load_settings()
    with ConnectionPool(settings.conninfo, min_size=1) as pool, pool.connection() as connection:
        connection.execute(SCHEMA)
    HandWrittenServer(settings).run()


if __name__ == "__main__":
    main()
