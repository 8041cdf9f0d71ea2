"""A merchant in memory, who keeps what he is told."""

import json
from datetime import datetime
from typing import Any

from application.confirmations import Delivery
from application.payment_gateway import NotAttempted


class MerchantDouble:
    """Takes confirmations. `answers` are given one by one; afterwards everything is a 200.

    An answer that is `NotAttempted` is raised instead of taking the message; another exception is
    raised after it was taken, as if our process died before it could note what came of it.
    """

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.answers: list[Delivery | BaseException] = []

    def send(self, url: str, message_id: str, body: bytes, sent_at: datetime) -> Delivery:
        """See `application.confirmations.MerchantNotifier.send`."""
        answer = self.answers.pop(0) if self.answers else Delivery(200)
        if isinstance(answer, NotAttempted):
            raise answer
        if isinstance(answer, BaseException):
            self.messages.append(json.loads(body))
            raise answer
        if answer.is_success:
            self.messages.append(json.loads(body))
        return answer

    @property
    def events_told(self) -> list[str]:
        """The types of the events that arrived, in order."""
        return [message["type"] for message in self.messages]
