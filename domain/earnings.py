"""What a payee and the platform earn from one payment of a contract."""

from decimal import ROUND_HALF_UP, Decimal
from uuid import UUID, uuid5

from domain.event import PaymentEventType, PaySagaAggregate
from domain.money import Money, minor_units


def platform_fee(gross: Money, percent: Decimal) -> Money:
    """The platform's share, rounded half up to the currency's minor unit (ISO 4217)."""
    unit = Decimal(1).scaleb(-minor_units(gross.currency.code))
    share = gross.amount * percent / 100
    return Money(share.quantize(unit, ROUND_HALF_UP), gross.currency)


class Earnings(PaySagaAggregate):
    """The earnings from one payment. What the platform does not take is the payee's: fee and net
    add up to the gross amount, to the last unit, after every refund."""

    class Calculated(PaySagaAggregate.Created):
        event_type = PaymentEventType.EARNINGS_CALCULATED
        contract_id: str
        payment_id: UUID
        payee_id: str
        gross: Money
        platform_fee: Money
        net: Money
        platform_fee_percent: Decimal

    class Reversed(PaySagaAggregate.Event):
        """Money was given back: the amounts are negative, and are added to the earlier ones."""

        event_type = PaymentEventType.EARNINGS_CALCULATED
        contract_id: str
        payment_id: UUID
        payee_id: str
        gross: Money
        platform_fee: Money
        net: Money

        def apply(self, aggregate: "Earnings") -> None:
            aggregate.gross += self.gross
            aggregate.platform_fee += self.platform_fee

    def __init__(
        self,
        contract_id: str,
        payment_id: UUID,
        payee_id: str,
        gross: Money,
        platform_fee: Money,
        platform_fee_percent: Decimal,
    ) -> None:
        self.contract_id = contract_id
        self.payment_id = payment_id
        self.payee_id = payee_id
        self.captured = gross
        self.gross = gross
        self.platform_fee = platform_fee
        self.platform_fee_percent = platform_fee_percent

    @staticmethod
    def create_id(payment_id: UUID) -> UUID:
        """The id of the earnings from a payment."""
        return uuid5(payment_id, "earnings")

    @classmethod
    def calculate(
        cls, contract_id: str, payment_id: UUID, payee_id: str, gross: Money, percent: Decimal
    ) -> "Earnings":
        """Shares out what a payment brought."""
        fee = platform_fee(gross, percent)
        return cls._create(
            cls.Calculated,
            id=cls.create_id(payment_id),
            contract_id=contract_id,
            payment_id=payment_id,
            payee_id=payee_id,
            gross=gross,
            platform_fee=fee,
            net=gross - fee,
            platform_fee_percent=percent,
        )

    def reverse(self, amount_refunded: Money) -> None:
        """`amount_refunded` in all was given back: what was earned from it is taken back in
        proportion. Nothing when that is known already."""
        kept = max(self.captured - amount_refunded, self.captured * 0)
        gross = kept - self.gross
        if not gross:
            return
        fee = platform_fee(kept, self.platform_fee_percent) - self.platform_fee
        self.trigger_event(
            self.Reversed,
            contract_id=self.contract_id,
            payment_id=self.payment_id,
            payee_id=self.payee_id,
            gross=gross,
            platform_fee=fee,
            net=gross - fee,
        )
