"""Looks again for the payments of webhooks that came before anybody knew them."""

from datetime import datetime, timedelta

from application.rows import RowChange
from domain.event import acting
from domain.payment import Payment
from domain.webhook import Webhook
from system.applications import Applications
from system.followers.agenda import MATCH_AFTER
from system.payment_finder import PaymentFinder
from system.work_item import WorkItem

LOOK_FOR = timedelta(days=2)
"""A look after so long is the last one. The gaps between looks double, so that there are 18 of
them, in three days; later an operator can still replay the webhook."""


class WebhookMatchHandler:
    """Matches one webhook with its payment, or puts the work back for later."""

    def __init__(self, applications: Applications, finder: PaymentFinder) -> None:
        self._applications = applications
        self._finder = finder

    def __call__(self, item: WorkItem) -> None:
        log = self._applications.webhooks
        epoch = log.epoch()
        webhook: Webhook = log.get(item.aggregate_id)
        payment = self._payment_of(webhook)
        if payment is None:
            log.record(rows=[self._what_next(item, webhook)], epoch=epoch)
            return
        context = item.context(self._applications.clock.now())
        own = context.correlated(payment.correlation_id, payment.trace_id, payment.span_id)
        with acting(own):
            log.match(webhook.id, payment.id, rows=[item.done()])

    def _payment_of(self, webhook: Webhook) -> Payment | None:
        if not webhook.is_unmatched or webhook.report is None:
            return None
        return self._finder.find(webhook.report)

    def _what_next(self, item: WorkItem, webhook: Webhook) -> RowChange:
        now: datetime = self._applications.clock.now()
        age = now - webhook.created_on
        if not webhook.is_unmatched or age >= LOOK_FOR:
            return item.done()
        return item.again_at(now + max(age, MATCH_AFTER))
