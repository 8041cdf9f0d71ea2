"""The refusals of the business, each with a stable code that reaches the caller."""

from collections.abc import Iterable


class DomainError(Exception):
    """A command was refused by a business rule; the message says what to do next."""

    code = "refused"


class InvalidTransition(DomainError):
    """The aggregate's status does not allow the command (contract 3, `invalid_transition`)."""

    code = "invalid_transition"

    def __init__(
        self,
        action: str,
        current_status: str,
        allowed_statuses: Iterable[str],
        subject: str = "payment",
    ) -> None:
        self.current_status = current_status
        self.allowed_statuses = sorted(allowed_statuses)
        expected = " or ".join(self.allowed_statuses) or f"none: the {subject} is final"
        super().__init__(
            f"this {subject} cannot be {action} because it is {current_status}; "
            f"that is allowed when it is {expected}"
        )
