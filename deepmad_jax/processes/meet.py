"""The meeting of all processes before they are connected: who is missing is told in a sentence.

JAX's own connecting ends a process by a C++ abort where another one does not come, and does not say
which. So they first report to process 0, at the address where JAX's coordinator will listen: each
sends a line of JSON, ``{"count": 2, "index": 1}``, and is answered by one when all are there,
``{"error": null}``.
"""

import contextlib
import dataclasses
import json
import os
import socket
import time
from typing import Any

from deepmad_jax.errors import UserError

_PAUSE_SECONDS = 0.2
_LINE_SECONDS = 5
"""How long whoever connects may take to say who it is; others connect by mistake."""
_LINE_BYTES = 1 << 16


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a process stands among those that run together.

    Attributes:
        address: ``HOST:PORT`` where the first one listens.
        count: of the processes.
        index: of this one, from 0.
        devices: the local ones it uses; None is all.
    """

    address: str
    count: int
    index: int
    devices: list[int] | None = None

    @property
    def host(self) -> str:
        """Without the brackets of IPv6."""
        return self.address.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """Where process 0 listens."""
        return int(self.address.rpartition(":")[2])


def meet(place: Place, seconds: float) -> None:
    """Returns when all processes are there.

    Args:
        place: of this process.
        seconds: how long it waits for the others.

    Raises:
        UserError: after that time one is missing, or two processes do not fit each other.
    """
    deadline = time.monotonic() + seconds
    if place.index > 0:
        _report(place, deadline, seconds)
        return
    with contextlib.ExitStack() as stack:
        there: dict[int, socket.socket] = {}
        try:
            _gather(place, deadline, seconds, there, stack)
        except UserError as error:
            _answer(there, str(error))
            raise
        _answer(there, None)


def _gather(
    place: Place,
    deadline: float,
    seconds: float,
    there: dict[int, socket.socket],
    stack: contextlib.ExitStack,
) -> None:
    """Fills ``there`` with a connection to each of the others."""
    server = stack.enter_context(_listen(place.port))
    while len(there) < place.count - 1:
        server.settimeout(max(deadline - time.monotonic(), 0.01))
        try:
            connection = stack.enter_context(server.accept()[0])
        except TimeoutError:
            missing = [str(i) for i in range(1, place.count) if i not in there]
            raise UserError(
                f"{len(missing)} of {place.count} processes did not come to {place.address} within "
                f"{seconds:g} s: number {', '.join(missing)}. See whether they were started, with "
                f"the same address, and what they say. {_MORE_TIME}"
            ) from None
        said = _line_of(connection, _LINE_SECONDS)
        if said is None or not isinstance(said.get("index"), int):
            continue  # no process of ours: a port scan, a health check
        index = said["index"]
        if index in there and not _is_gone(there[index]):
            raise UserError(
                f"Two processes say that they are number {index} of {place.count}: give each its "
                "own INDEX in --distributed=HOST:PORT,COUNT,INDEX."
            )
        there[index] = connection
        if said.get("count") != place.count or not 0 < index < place.count:
            raise UserError(
                f"One process says that it is number {index} of {said.get('count')}, but process 0 "
                f"that there are {place.count}: give all the same COUNT in "
                "--distributed=HOST:PORT,COUNT,INDEX."
            )


def _report(place: Place, deadline: float, seconds: float) -> None:
    """Tells process 0 that this one is here, and waits for its answer."""
    why, reached = "no answer", False
    while time.monotonic() < deadline:
        left = max(deadline - time.monotonic(), 0.01)
        try:
            with socket.create_connection((place.host, place.port), min(left, 5)) as connection:
                line = json.dumps({"count": place.count, "index": place.index})
                connection.sendall(line.encode() + b"\n")
                reached = True
                answer = _line_of(connection, max(deadline - time.monotonic(), 0.01))
        except (OSError, UnicodeError) as error:  # UnicodeError: no name of a host
            why, reached = str(error), False
        else:
            if answer is not None and "error" in answer:
                if answer["error"] is not None:
                    raise UserError(f"Process 0 says: {answer['error']}")
                return
        time.sleep(_PAUSE_SECONDS)
    who = f"Process {place.index} of {place.count}"
    if reached:
        raise UserError(
            f"{who} reached {place.address}, but within {seconds:g} s not all of the others did. "
            f"Process 0 says which are missing. {_MORE_TIME}"
        )
    raise UserError(
        f"{who} cannot reach process 0 at {place.address} for {seconds:g} s ({why}). See whether "
        "process 0 was started, on that host, and whether a firewall closes that port. "
        f"{_MORE_TIME}"
    )


_MORE_TIME = "Where hosts start at different times, set DEEPMAD_JOIN_SECONDS to more."


def _listen(port: int) -> socket.socket:
    # On all addresses of this host, or the one that JAX is told to use.
    host = os.environ.get("JAX_COORDINATOR_BIND_ADDRESS", "").rpartition(":")[0].strip("[]")
    families = [socket.AF_INET]
    if socket.has_dualstack_ipv6() and (":" in host or not host):
        families.insert(0, socket.AF_INET6)  # takes IPv4 too
    why: OSError | None = None
    for family in families:
        try:
            return socket.create_server(
                (host, port),
                family=family,
                backlog=1024,
                dualstack_ipv6=family == socket.AF_INET6,
            )
        except OSError as error:
            why = error
    assert why is not None
    raise UserError(
        f"Process 0 cannot listen on port {port} ({why.strerror}): another program has it, or a "
        "run that has not ended. Choose another port."
    ) from why


def _answer(there: dict[int, socket.socket], error: str | None) -> None:
    for connection in there.values():
        with contextlib.suppress(OSError):  # one that has gone meanwhile is missed by JAX
            connection.settimeout(_LINE_SECONDS)
            connection.sendall(json.dumps({"error": error}).encode() + b"\n")


def _line_of(connection: socket.socket, seconds: float) -> dict[str, Any] | None:
    """The JSON object of the line that comes, or None where another thing or nothing comes."""
    connection.settimeout(seconds)
    try:
        with connection.makefile("rb") as file:
            value = json.loads(file.readline(_LINE_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _is_gone(connection: socket.socket) -> bool:
    """Whether the other end has closed it: a process that was started anew has another one."""
    connection.setblocking(False)
    try:
        return connection.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
