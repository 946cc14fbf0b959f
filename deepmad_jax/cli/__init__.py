"""``deepmad``: the library and the jobs as a console script.

    deepmad design --macs 1.8G --params 11.7M --rho 0.3 --out my.json
    deepmad compare resnet50 deepmad_r50 my.json
    deepmad train digits
    deepmad export runs/digits --to onnx

It holds no logic of its own: `design`, `compare` and `export` call the library, `train` is
``python -m deepmad_jax.main``. What a value may be is said by `fields`, as for config files.
Exit statuses: `main.exit_status`.
"""

import sys
from collections.abc import Sequence

from deepmad_jax.freed_memory import keep_freed_memory
from deepmad_jax.interrupts import watch_for_interrupts

__all__ = ["console", "main"]


def console() -> int:
    """The console script: `main`, which Ctrl-C ends at any moment, its imports included."""
    keep_freed_memory()
    # The live page waits for Ctrl-C itself: there it is the way to end, and nothing is lost.
    if sys.argv[1:2] != ["serve"]:
        watch_for_interrupts()
    return main()


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line (default ``sys.argv[1:]``); returns the exit status."""
    from deepmad_jax.cli import commands

    return commands.main(argv)
