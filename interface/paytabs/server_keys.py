"""The server keys that are active: one, or several while one is being rotated."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from interface.paytabs.signatures import verify_body

_KEY = re.compile(r"(?:(?P<profile>[1-9][0-9]{0,17}):)?(?P<secret>[\x21-\x39\x3b-\x7e]+)")


@dataclass(frozen=True)
class ServerKey:
    """One key (PayTabs, section 1). With a `profile_id` it signs for that profile alone."""

    secret: str = field(repr=False)
    profile_id: int | None = None

    def may_sign_for(self, profile: object) -> bool:
        """True when the key may sign a message that names this profile."""
        return self.profile_id is None or str(profile) == str(self.profile_id)


def read_server_keys(text: str) -> tuple[ServerKey, ...]:
    """The keys in a setting: parted by spaces, each `KEY` or `PROFILE:KEY`.

    Raises:
        ValueError: there is none, or one is not of that form.
    """
    found = [_KEY.fullmatch(part) for part in text.split()]
    if not found or None in found:
        raise ValueError("expected server keys parted by spaces, each KEY or PROFILE:KEY")
    return tuple(
        ServerKey(match["secret"], int(match["profile"]) if match["profile"] else None)
        for match in found
        if match
    )


def signers_of(keys: Sequence[ServerKey], body: bytes, signature: str | None) -> list[ServerKey]:
    """The keys that made this signature of exactly these bytes (PayTabs, section 7.2); each key
    is tried, and compared in constant time."""
    return [key for key in keys if verify_body([key.secret], body, signature)]
