"""Personal data as it is stored in events: closed, under a key that can be thrown away."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sealed:
    """A value encrypted with the key of one client (design 2).

    Deleting that key erases the person from every event and leaves everything else. `client_id`
    names the key; `ciphertext` is base64. Opening one is the business of `application.vault`.
    """

    client_id: str
    ciphertext: str
