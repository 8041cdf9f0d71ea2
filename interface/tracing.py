"""Makes OpenTelemetry spans of requests, of work on the agenda, and of calls to the outside."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TypeVar

from flask import Flask, Response, g, request
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    format_span_id,
    format_trace_id,
    set_span_in_context,
)

from application.confirmations import Delivery, MerchantNotifier
from application.payment_gateway import (
    FollowUpRequest,
    Outcome,
    PageRequest,
    PaymentGateway,
)
from domain.event import acting, current_context
from interface.web.requests import trace_of_caller
from system.handlers import Handler
from system.work_item import WorkItem, WorkKind

T = TypeVar("T")
Ids = tuple[str, str]
"""Of a trace and of a span, in hex."""

SERVICE_NAME = "OTEL_SERVICE_NAME"
RESOURCE_ATTRIBUTES = "OTEL_RESOURCE_ATTRIBUTES"


class Tracing:
    """The spans of one process, sent to the collector in the background. They carry ids, names
    and statuses: neither amounts nor anything about people.

    A span is a child of the one whose ids the events carry on which the work is done, so one trace
    goes through all processes.
    """

    def __init__(self, role: str) -> None:
        self._provider = TracerProvider(resource=Resource.create(_named(role)))
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("paysaga")

    def close(self) -> None:
        """Sends what is left; also done at the end of the process."""
        self._provider.shutdown()

    def follow(self, app: Flask) -> None:
        """A span for each request, whose ids the events of the request get. To be called before
        the hook is added that reads who asks."""
        app.before_request(self._begin)
        app.after_request(_note_answer)
        app.teardown_request(_end)

    def _begin(self) -> None:
        route = request.url_rule.rule if request.url_rule else ""
        g.span = self._tracer.start_span(
            f"{request.method} {route}".rstrip(),
            context=_below(trace_of_caller()),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": request.method, "http.route": route},
        )
        g.trace = _ids_of(g.span)

    def handlers(self, plain: Mapping[WorkKind, Handler]) -> Mapping[WorkKind, Handler]:
        """The handlers, with a span for each piece of work."""
        return {kind: partial(self._handle, handler) for kind, handler in plain.items()}

    def _handle(self, handler: Handler, item: WorkItem) -> None:
        parent = (item.trace_id, item.span_id) if item.trace_id and item.span_id else None
        attributes: dict[str, str | int] = {
            "paysaga.payment_id": str(item.payment_id),
            "paysaga.correlation_id": item.correlation_id,
            "paysaga.attempts": item.attempts,
        }
        with self._span(item.kind.value, SpanKind.CONSUMER, parent, attributes) as span:
            trace_id, span_id = _ids_of(span)
            handler(replace(item, trace_id=trace_id, span_id=span_id))

    def gateway(self, plain: PaymentGateway) -> PaymentGateway:
        """The gateway, with a span for each call."""
        return TracedGateway(plain, self)

    def notifier(self, plain: MerchantNotifier) -> MerchantNotifier:
        """The notifier, with a span for each message."""
        return TracedNotifier(plain, self)

    def call(self, name: str, call: Callable[[], T], outcome_of: Callable[[T], str]) -> T:
        """What a call to the outside returns. What it sends names the span of the call."""
        context = current_context()
        known = context.metadata
        parent = (known.trace_id, known.span_id) if known.trace_id and known.span_id else None
        with self._span(name, SpanKind.CLIENT, parent, {}) as span:
            trace_id, span_id = _ids_of(span)
            own = replace(known, trace_id=trace_id, span_id=span_id)
            with acting(replace(context, metadata=own)):
                result = call()
            span.set_attribute("paysaga.outcome", outcome_of(result))
        return result

    @contextmanager
    def _span(
        self, name: str, kind: SpanKind, parent: Ids | None, attributes: Mapping[str, str | int]
    ) -> Iterator[Span]:
        """Of what was raised only the type is told: its text may speak of people."""
        span = self._tracer.start_span(
            name, context=_below(parent), kind=kind, attributes=attributes
        )
        try:
            yield span
        except BaseException as error:
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(StatusCode.ERROR)
            raise
        finally:
            span.end()


class TracedGateway(PaymentGateway):
    """A payment gateway whose calls are traced."""

    def __init__(self, gateway: PaymentGateway, tracing: Tracing) -> None:
        self._gateway = gateway
        self._tracing = tracing

    @property
    def name(self) -> str:
        """See `PaymentGateway.name`."""
        return self._gateway.name

    def open_page(self, request: PageRequest) -> Outcome:
        """See `PaymentGateway.open_page`."""
        return self._call("open_page", lambda: self._gateway.open_page(request))

    def query_transaction(self, transaction_ref: str) -> Outcome:
        """See `PaymentGateway.query_transaction`."""
        return self._call(
            "query_transaction", lambda: self._gateway.query_transaction(transaction_ref)
        )

    def query_cart(self, cart_id: str) -> Outcome:
        """See `PaymentGateway.query_cart`."""
        return self._call("query_cart", lambda: self._gateway.query_cart(cart_id))

    def refund(self, request: FollowUpRequest) -> Outcome:
        """See `PaymentGateway.refund`."""
        return self._call("refund", lambda: self._gateway.refund(request))

    def capture(self, request: FollowUpRequest) -> Outcome:
        """See `PaymentGateway.capture`."""
        return self._call("capture", lambda: self._gateway.capture(request))

    def void(self, request: FollowUpRequest) -> Outcome:
        """See `PaymentGateway.void`."""
        return self._call("void", lambda: self._gateway.void(request))

    def _call(self, name: str, call: Callable[[], Outcome]) -> Outcome:
        return self._tracing.call(
            f"{self.name} {name}", call, lambda outcome: type(outcome).__name__.lower()
        )


class TracedNotifier:
    """Sends messages to merchants and traces each."""

    def __init__(self, notifier: MerchantNotifier, tracing: Tracing) -> None:
        self._notifier = notifier
        self._tracing = tracing

    def send(self, url: str, message_id: str, body: bytes, sent_at: datetime) -> Delivery:
        """See `application.confirmations.MerchantNotifier.send`."""
        return self._tracing.call(
            "send confirmation",
            lambda: self._notifier.send(url, message_id, body, sent_at),
            lambda delivery: str(delivery.status_code or "no answer"),
        )


def _named(role: str) -> dict[str, str]:
    """The service's name, unless the environment gives one."""
    given = os.environ.get(SERVICE_NAME) or "service.name=" in os.environ.get(
        RESOURCE_ATTRIBUTES, ""
    )
    return {} if given else {"service.name": f"paysaga-{role}"}


def _below(parent: Ids | None) -> Context:
    """A context in which a span becomes a child of the parent, or the first of a new trace."""
    if parent is None:
        return Context()
    trace_id, span_id = (int(number, 16) for number in parent)
    told = SpanContext(
        trace_id, span_id, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED)
    )
    return set_span_in_context(NonRecordingSpan(told), Context())


def _ids_of(span: Span) -> Ids:
    context = span.get_span_context()
    return format_trace_id(context.trace_id), format_span_id(context.span_id)


def _note_answer(response: Response) -> Response:
    g.span.set_attribute("http.response.status_code", response.status_code)
    if "correlation_id" in g:
        g.span.set_attribute("paysaga.correlation_id", g.correlation_id)
    if response.status_code >= 500:
        g.span.set_status(StatusCode.ERROR)
    return response


def _end(_error: BaseException | None) -> None:
    if "span" in g:
        g.span.end()
