"""Finds out before the start whether a port can be listened on, to say so in one clear line."""

import errno
import socket
import time

from interface.settings import PREFIX, InvalidSettings

_POLL_SECONDS = 0.2
_REASONS = {
    errno.EADDRINUSE: "is in use by another program: stop it, or set {name} to another port",
    errno.EACCES: "may not be opened by this user: set {name} to a port from 1024 up",
    errno.EADDRNOTAVAIL: "cannot be opened: {host} is no address of this machine; set "
    + f"{PREFIX}HOST",
}


def check_port(name: str, host: str, port: int, patience_seconds: float = 0.0) -> None:
    """Returns when the port is free, which it may become within the patience.

    Args:
        name: the setting that the port comes from, without its prefix.

    Raises:
        InvalidSettings: it cannot be listened on; the line says what to do.
    """
    deadline = time.monotonic() + patience_seconds
    while (error := _try(host, port)) is not None:
        if error.errno != errno.EADDRINUSE or time.monotonic() >= deadline:
            raise InvalidSettings([_problem(f"{PREFIX}{name}", host, port, error)])
        time.sleep(_POLL_SECONDS)


def free_port(host: str) -> int:
    """A port that nobody listens on now.

    Raises:
        InvalidSettings: the host is no address of this machine.
    """
    check_port("HOST", host, 0)
    with _socket(host) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _try(host: str, port: int) -> OSError | None:
    try:
        with _socket(host) as probe:
            probe.bind((host, port))
            probe.listen(1)
    except OSError as error:
        return error
    return None


def _socket(host: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    probe = socket.socket(family, socket.SOCK_STREAM)
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return probe


def _problem(name: str, host: str, port: int, error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return f"{PREFIX}HOST: '{host}' is wrong: expected an address of this machine"
    reason = _REASONS.get(error.errno or 0, f"cannot be opened: {error.strerror}")
    return f"{name}: {port} {reason.format(name=name, host=host)}"
