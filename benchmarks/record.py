"""What a results file says of the run behind it: date, machine, load."""

import datetime
import json
import os
from pathlib import Path
from typing import Any

import jax

from benchmarks.input_pipeline import processor


def machine() -> str:
    """Processor, cores and versions."""
    return f"{processor()}, {len(os.sched_getaffinity(0))} cores, jax {jax.__version__}"


def write_result(path: Path, load_before: float, **result: Any) -> None:
    """Writes a result as JSON, with date, machine and the system's load before the run."""
    header = {"date": datetime.date.today().isoformat(), "machine": machine()}
    path.write_text(json.dumps(header | {"load_before": load_before} | result, indent=1) + "\n")
