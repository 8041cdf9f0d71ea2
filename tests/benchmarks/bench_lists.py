"""How long the first page of a list takes when there are very many payments.

Run `python -m tests.benchmarks.bench_lists`. The rows are generated; a query is what the API asks
of the database for a page of 20, in one process and one connection, without HTTP.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from uuid import UUID

from interface.bootstrap import build_applications, open_persistence
from interface.settings import load_settings
from system.persistence.payment_queries import PaymentFilter, PaymentQueries, Place
from system.persistence.postgres import PostgresPersistence
from tests.benchmarks.kit import durable_database, percentile, table
from tests.generated_rows import fill

PAGE = 21
"""20 payments, and one more that tells whether there is another page."""
FIRST = datetime(2026, 1, 1, tzinfo=UTC)


def questions(count: int) -> dict[str, tuple[PaymentFilter, Place | None]]:
    """What is asked for; the values exist whatever the number of rows."""
    middle = datetime.fromtimestamp(FIRST.timestamp() + count * 7 / 2, UTC)
    return {
        "no filter": (PaymentFilter(), None),
        "no filter, in the middle": (PaymentFilter(), Place(middle, UUID(int=0))),
        "status, every seventh has it": (PaymentFilter(status="refunded"), None),
        "status, few have it": (PaymentFilter(status="authorized"), None),
        "contractId": (PaymentFilter(contract_id="contract-40"), None),
        "currency, few have it": (PaymentFilter(currency="OMR"), None),
        "transactionRef": (
            PaymentFilter(transaction_ref=f"TST{count // 2 - count // 2 % 7}"),
            None,
        ),
        "createdFrom and createdTo": (
            PaymentFilter(created_from=FIRST, created_to=middle),
            None,
        ),
        "status and currency": (PaymentFilter(status="failed", currency="AED"), None),
        "q, one payment has it": (PaymentFilter(text=f"order {count // 3} of"), None),
        "q, one customer has it": (PaymentFilter(text="customer4711@example"), None),
        "q, a quarter have it": (PaymentFilter(text="saffron"), None),
        "q, nobody has it": (PaymentFilter(text="no such words"), None),
        "q of two characters, everybody has it": (PaymentFilter(text="of"), None),
    }


def seconds_of(ask: Callable[[], object]) -> float:
    """The wall time of one question."""
    began = time.perf_counter()
    ask()
    return time.perf_counter() - began


def filled(database_url: str, count: int) -> PostgresPersistence:
    """A database with so many generated payments."""
    settings = load_settings(database_url=database_url)
    persistence = open_persistence(settings)
    build_applications(settings, persistence)
    began = time.perf_counter()
    with persistence.connection() as connection:
        fill(connection, count)
    print(f"{count:,} payments written in {time.perf_counter() - began:.0f} s", flush=True)
    return persistence


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--payments", type=int, default=20_000)
    parser.add_argument("--questions", type=int, default=50, help="How often each is asked.")
    options = parser.parse_args(arguments)
    with durable_database("bench_lists") as url:
        persistence = filled(url, options.payments)
        queries = PaymentQueries(persistence)
        rows = []
        for name, (wanted, after) in questions(options.payments).items():
            found = len(queries.list(wanted, PAGE, after))
            times = [
                seconds_of(lambda: queries.list(wanted, PAGE, after)) * 1000  # noqa: B023
                for _ in range(options.questions)
            ]
            shown = [percentile(times, 0.5), percentile(times, 0.99), max(times)]
            rows.append([name, found, *shown])
        counting = seconds_of(lambda: queries.count(PaymentFilter(status="refunded"))) * 1000
        persistence.close()
    table("First page of the list, ms", ["filter", "rows", "p50", "p99", "max"], rows)
    print(f"\nCounting one status (`total=true`): {counting:.1f} ms")


if __name__ == "__main__":
    main()
