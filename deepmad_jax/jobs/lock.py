"""One training run at a time in a workdir: a lock that goes with the process that holds it."""

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from deepmad_jax.errors import UserError

try:
    import fcntl
except ImportError:  # Windows has no such locks: there two runs must not be started
    fcntl = None  # type: ignore[assignment]

NAME = "train.lock"


@contextlib.contextmanager
def only_run_in(workdir: Path) -> Iterator[None]:
    """Inside, no other process trains in ``workdir``; nothing to tidy up where one is killed.

    The system drops the lock with the process, over NFS too. The file stays, with who held it.

    Raises:
        UserError: another process trains there.
    """
    if fcntl is None:
        yield
        return
    with (workdir / NAME).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"Another run trains in {workdir}{_who(file.name)}: its checkpoints would be "
                "overwritten. Wait for its end, end it, or give another --workdir."
            ) from None
        except OSError:  # a file system without locks
            yield
            return
        file.truncate(0)
        file.write(json.dumps({"host": socket.gethostname(), "process": os.getpid()}))
        file.flush()
        yield


def _who(path: str) -> str:
    """As its holder wrote it; empty where it has not yet."""
    try:
        held = json.loads(Path(path).read_text())
        return f" (process {held['process']} on {held['host']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
