"""What a results file says of the run behind it: date, machine, load."""

import datetime
import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any


def machine() -> str:
    """Processor, cores and versions."""
    return f"{processor()}, {len(os.sched_getaffinity(0))} cores, jax {version('jax')}"


def write_result(path: Path, load_before: float, **result: Any) -> None:
    """Writes a result as JSON, with date, machine and the system's load before the run."""
    header = {"date": datetime.date.today().isoformat(), "machine": machine()}
    path.write_text(json.dumps(header | {"load_before": load_before} | result, indent=1) + "\n")


def processor() -> str:
    """The CPU's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if "model name" in line), "unknown")
