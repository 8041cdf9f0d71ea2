"""Which addresses confirmations may go to: nobody makes us call our own network (contract 7).

A merchant chooses the address, so it is checked before every attempt: its form first, then
every address that its name resolves to. Whoever connects must use an address that was checked
here, or a second look-up could give another one.
"""

import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from queue import Empty, SimpleQueue
from urllib.parse import SplitResult, urlsplit

DEFAULT_PORTS = {"http": 80, "https": 443}
PORTS = frozenset({80, 443, 8080, 8443})
"""The ports that are called at public addresses: those on which web servers listen."""
ADDRESSES_MAX = 4
"""How many addresses of one name are tried before an attempt counts as failed."""
GLOBAL_UNICAST = ip_network("2000::/3")
"""All of IPv6 that is given out to the public (RFC 4291, 2.4)."""
NAT64 = ip_network("64:ff9b::/96")
NOT_PUBLIC = tuple(
    map(ip_network, ("168.63.129.16/32", "192.0.0.0/24", "192.88.99.0/24", "3fff::/20"))
)
"""What some versions of Python take for public: Azure's services for its own machines, protocol
assignments with Oracle's among them (RFC 6890), old 6to4 relays (RFC 7526), documentation."""

IpAddress = IPv4Address | IPv6Address


class AddressRefused(Exception):
    """The callback's address is not one that we send anything to: nothing was sent."""


@dataclass(frozen=True)
class CallbackAddress:
    """An absolute http or https address without credentials, made by `of`."""

    parts: SplitResult
    name: str
    port: int

    @classmethod
    def of(cls, url: str) -> "CallbackAddress":
        """Reads an address.

        Raises:
            AddressRefused: it is no absolute http or https address, or holds credentials.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise AddressRefused(f"the address cannot be read: {error}") from None
        if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
            raise AddressRefused("only http and https addresses are called")
        if parts.username is not None or parts.password is not None:
            raise AddressRefused("an address with credentials is not called")
        return cls(parts, parts.hostname, DEFAULT_PORTS[parts.scheme] if port is None else port)

    @property
    def host(self) -> str:
        """The name, and the port where it is not the usual one: what a breaker stands for."""
        name = f"[{self.name}]" if ":" in self.name else self.name
        is_usual = self.port == DEFAULT_PORTS[self.parts.scheme]
        return name if is_usual else f"{name}:{self.port}"

    def pinned_to(self, address: IpAddress) -> str:
        """The same address with a number instead of the name."""
        host = f"[{address}]" if address.version == 6 else str(address)
        return self.parts._replace(netloc=f"{host}:{self.port}", fragment="").geturl()

    def resolve(self, timeout_seconds: float, *, allow_private: bool) -> list[IpAddress]:
        """Looks the name up, once.

        Raises:
            AddressRefused: it is not known, or one of its addresses is not public, or the port is
                none of `PORTS`; the latter two only unless `allow_private`.
            TimeoutError: the look-up took too long.
        """
        found = list(dict.fromkeys(_look_up_within(timeout_seconds, self.name)))
        if not found:
            raise AddressRefused(f"the name {self.name} has no address")
        if not allow_private:
            self._require_public(found)
        return found[:ADDRESSES_MAX]

    def _require_public(self, found: list[IpAddress]) -> None:
        if not all(map(is_public, found)):
            raise AddressRefused(f"{self.name} is a private address")
        if self.port not in PORTS:
            allowed = ", ".join(map(str, sorted(PORTS)))
            raise AddressRefused(f"the port {self.port} is not called: use one of {allowed}")


def is_public(address: IpAddress) -> bool:
    """True for an address on the public internet that is one host's. An IPv6 address that only
    wraps an IPv4 address is what that is."""
    if isinstance(address, IPv6Address):
        inner = _embedded(address)
        if inner is not None:
            return is_public(inner)
        if address not in GLOBAL_UNICAST:
            return False
    is_reserved = any(address in network for network in NOT_PUBLIC)
    return address.is_global and not address.is_multicast and not is_reserved


def _embedded(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that a packet to this IPv6 address ends at."""
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def _look_up_within(seconds: float, name: str) -> list[IpAddress]:
    """The resolver knows no time-out, so it gets a thread, which ends when it gives up."""
    answers: SimpleQueue[list[IpAddress] | AddressRefused] = SimpleQueue()

    def look_up() -> None:
        try:
            answers.put(list(_look_up(name)))
        except AddressRefused as refusal:
            answers.put(refusal)

    threading.Thread(target=look_up, name="resolver", daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except Empty:
        raise TimeoutError(f"the name {name} could not be looked up in time") from None
    if isinstance(answer, AddressRefused):
        raise answer
    return answer


def _look_up(name: str) -> Iterator[IpAddress]:
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise AddressRefused(f"the name {name} is not known: {error}") from None
    for *_, address in found:
        yield ip_address(str(address[0]).split("%")[0])
