"""Fills the view of payments with many generated rows, for tests and benchmarks of its lists."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from psycopg import Connection
from psycopg.rows import DictRow

PAYMENTS = """
INSERT INTO view_payments
SELECT md5('payment ' || n)::uuid,
       CASE WHEN n %% 5000 = 1 THEN 'authorized'
            ELSE (ARRAY['completed', 'completed', 'completed', 'failed', 'cancelled', 'refunded',
                        'processing'])[1 + n %% 7] END,
       (100 + n %% 9000) / 100.0, CASE WHEN n %% 5000 = 2 THEN 'OMR'
            ELSE (ARRAY['SAR', 'SAR', 'SAR', 'AED', 'KWD'])[1 + n %% 5] END,
       'Order ' || n || ' of ' || (ARRAY['tea', 'coffee', 'dates', 'saffron'])[1 + n %% 4],
       CASE WHEN n %% 10 = 0 THEN 'contract-' || n %% 1000 END,
       NULL::uuid,
       jsonb_build_object('name', 'Customer ' || md5('client ' || n %% 50000),
                          'email', 'customer' || n %% 50000 || '@example.com'),
       'all', 'automatic', NULL, NULL, '{}', 0, 0,
       CASE WHEN n %% 7 <> 6 THEN 'TST' || n END, 'paytabs', NULL, NULL, NULL, NULL, 3,
       timestamptz '2026-01-01Z' + n * interval '7 seconds',
       timestamptz '2026-01-01Z' + n * interval '7 seconds', md5('correlation ' || n)
FROM generate_series(1, %(count)s) n
"""
SAGAS = """
INSERT INTO view_sagas
SELECT md5('saga ' || n)::uuid, md5('payment ' || n)::uuid,
       (ARRAY['completed', 'completed', 'completed', 'compensated', 'waiting'])[1 + n %% 5],
       CASE WHEN n %% 20000 = 0 THEN 'the refund was refused' END, NULL,
       timestamptz '2026-01-01Z' + n * interval '7 seconds',
       timestamptz '2026-01-01Z' + n * interval '7 seconds'
FROM generate_series(1, %(count)s) n
"""


def fill(connection: Connection[DictRow], count: int) -> None:
    """Writes so many payments with their sagas, and lets the planner know of them."""
    connection.execute("SET statement_timeout = 0")
    connection.execute("SET maintenance_work_mem = '256MB'")
    definition = connection.execute(TEXT_INDEX).fetchone()
    assert definition is not None
    connection.execute("DROP INDEX view_payments_6_idx")
    for statement in (PAYMENTS, SAGAS):
        connection.execute(statement.encode(), {"count": count})
    connection.execute(definition["indexdef"].encode())
    connection.execute("VACUUM ANALYZE view_payments")
    connection.execute("VACUUM ANALYZE view_sagas")
    connection.execute("RESET statement_timeout")


def fill_earnings(
    connection: Connection[Any], contract_id: str, earned: Iterable[tuple[UUID, str, str]]
) -> None:
    """Writes that payments of a contract brought payees 1.00 in a currency, 0.10 of it the
    platform's. `earned` has the payment, the payee and the currency of each."""
    row = "(gen_random_uuid(), %s, %s, %s, %s, 1.00, 0.10, 0.90, now())"
    rows = [(contract_id, *each) for each in earned]
    with connection.cursor() as cursor:
        cursor.executemany(f"INSERT INTO view_earnings VALUES {row}".encode(), rows)


TEXT_INDEX = "SELECT indexdef FROM pg_indexes WHERE indexname = 'view_payments_6_idx'"
"""Made after the rows, which is quicker."""
