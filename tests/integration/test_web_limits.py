"""Rate limits per key over all processes, and a gateway that refuses our key."""

from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from domain.security_incident import SecurityIncident
from tests.e2e.house import SECRETS, Api, house, until


def test_a_key_that_sends_too_much_is_told_when_it_may_send_again(database_url: str) -> None:
    with house(database_url, with_worker=False, rate_limit_per_minute=3) as home:
        answers = [home.api.get("/v1/payments") for _ in range(8)]
        other = Api(home.url, SECRETS["read"]).get("/v1/payments")
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused, "at most six requests fit into two minutes"
    assert refused[0].json()["code"] == "rate_limited"
    assert 1 <= int(refused[0].headers["Retry-After"]) <= 60
    assert other.status_code == 200, "each key has its own limit"


def test_without_a_limit_nobody_is_refused(database_url: str) -> None:
    with house(database_url, with_worker=False) as home:
        assert {home.api.get("/v1/payments").status_code for _ in range(20)} == {200}


def test_a_gateway_that_refuses_our_key_shows_in_readyz_and_as_a_security_event(
    database_url: str,
) -> None:
    with house(database_url, paytabs_server_key="SWRONGKEY1-WRONGKEY12-WRONGKEY34") as home:
        payment = home.api.becomes(home.api.created()["paymentId"], "failed")
        assert payment["failure"]["code"] == "gateway_refused"
        incidents = until(lambda: [e for e in home.events_of("Operations") if is_incident(e)])
        answer = home.api.get("/readyz")
    assert incidents[0].kind == "gateway_key_refused"
    assert answer.status_code == 503
    [check] = [c for c in answer.json()["checks"] if c["name"] == "gateway_key"]
    assert not check["ok"]


def is_incident(event: object) -> bool:
    return isinstance(event, SecurityIncident.Recorded)


def test_the_limit_of_a_key_holds_over_several_processes(database_url: str) -> None:
    with (
        house(database_url, with_worker=False, rate_limit_per_minute=3) as one,
        house(database_url, with_worker=False, rate_limit_per_minute=3) as other,
    ):
        homes = [one, other] * 5
        answers = [home.api.get("/v1/payments") for home in homes]
    assert sum(answer.ok for answer in answers) <= 6, "two minutes allow six at the most"
    assert {answer.status_code for answer in answers} == {200, 429}


def test_every_line_logged_within_a_request_names_it(database_url: str) -> None:
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    headers = {
        "X-Correlation-Id": "order-7",
        "traceparent": f"00-{trace_id}-b7ad6b7169203331-01",
    }
    with house(database_url, with_worker=False) as home, capture_logs([merge_contextvars]) as lines:
        home.context.queries.list = None  # type: ignore[assignment, method-assign]
        answer = home.api.request("GET", "/v1/payments", headers=headers)
    assert answer.status_code == 500
    assert "NoneType" not in answer.text
    assert answer.json()["correlationId"] == "order-7"
    [line] = [line for line in lines if line["event"] == "request_failed"]
    assert (line["correlation_id"], line["trace_id"]) == ("order-7", trace_id)
