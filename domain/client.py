"""The customer of a payment, as the merchant described them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Address:
    """A postal address; `country` is ISO 3166-1 alpha-2."""

    street: str | None = None
    city: str | None = None
    state: str | None = None
    country: str | None = None
    zip: str | None = None


@dataclass(frozen=True)
class ClientInfo:
    """Who pays. Personal data: it is stored only sealed (see `domain.sealed`)."""

    name: str | None = None
    email: str | None = None
    phone: str | None = None
    address: Address | None = None
