"""The folder in which compiled programs are kept between processes.

A design then starts in a second or two.
"""

import os
import re
import warnings
from pathlib import Path
from typing import Any


def keep_compiled_programs(shared: Path | None = None) -> None:
    """Keeps compiled programs in ``JAX_COMPILATION_CACHE_DIR``, or the user's cache folder.

    Args:
        shared: takes the place of the user's cache folder where several processes run together. Of
            these the first alone writes programs, so the others need a folder that all can read.
    """
    import jax

    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        users = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "deepmad_jax"
        cache = shared or users
        jax.config.update("jax_compilation_cache_dir", str(cache))
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(cache)  # for the processes of a sweep
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    if warnings.showwarning is not _show:
        warnings.showwarning = _show


_DAMAGED = re.compile(r"Error reading persistent compilation cache entry for '([\w.-]+)'")
_shown = warnings.showwarning


def _show(message: Any, *others: Any, **named: Any) -> None:
    """Removes a damaged program in place of JAX's warning, and shows every other one.

    A process that was killed while it wrote, or a full disk, leaves part of a file. JAX compiles
    the program again then, but never writes over the file, and would warn each time.
    """
    damaged = _DAMAGED.match(str(message))
    if not damaged:
        _shown(message, *others, **named)
        return
    # Which of the program's variants it is, the warning does not say.
    for file in Path(os.environ["JAX_COMPILATION_CACHE_DIR"]).glob(f"{damaged[1]}-*"):
        file.unlink(missing_ok=True)
