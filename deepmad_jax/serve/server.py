"""Serves the live page until it is interrupted."""

import contextlib
import errno
import ipaddress
import socket
from collections.abc import Callable

from deepmad_jax.errors import UserError

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
"""Names by which a browser on this machine asks."""


def serve(
    host: str = "127.0.0.1", port: int = 8517, ready: Callable[[str], None] | None = None
) -> None:
    """Serves the live page; returns when it is interrupted.

    Args:
        host: the address to listen on. By default only this machine reaches it; with another one
            whoever reaches the address can have networks designed here.
        port: 0 takes a free one.
        ready: is called with the page's address once it can be asked for.
    Raises:
        UserError: the address or port cannot be had.
    """
    import uvicorn

    from deepmad_jax.serve.app import app

    listener = listen(host, port)
    name = f"[{host}]" if ":" in host else host
    if ready is not None:
        ready(f"http://{name}:{listener.getsockname()[1]}/")
    config = uvicorn.Config(
        app(LOOPBACK if is_local(host) else ("*",)), log_level="warning", lifespan="off"
    )
    with contextlib.suppress(KeyboardInterrupt):  # the way to end it
        uvicorn.Server(config).run(sockets=[listener])


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there, so that a browser that asks at once has to wait at most."""
    try:
        if not 0 <= port < 1 << 16:  # of which create_server leaves its socket open
            raise OSError(errno.EINVAL, "a port is a whole number from 0 to 65535")
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        why = error.strerror or error
        raise UserError(
            f"Cannot serve at {host}, port {port}: {why}. Give another --port (0 takes a free one) "
            "or --host."
        ) from error


def is_local(host: str) -> bool:
    """Whether only this machine reaches the address.

    >>> is_local("127.0.0.1"), is_local("localhost"), is_local("0.0.0.0")
    (True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
