"""Made-up grids of latency: times with steps and noise, as a device has them, for every row."""

import numpy as np

from deepmad_jax.arch.cost import layer_macs
from deepmad_jax.config import MeasureConfig
from deepmad_jax.design.program.latency_file import COLUMNS
from deepmad_jax.design.program.latency_grid import moved
from deepmad_jax.measure.points import layer_of, points_of


def write_times(path, problem, seed=0, fine=8, growth=2.0, rough=0.4):
    """A file of times of every row that a network of the problem can have; returns its path."""
    rng = np.random.default_rng(seed)
    lines = [",".join(COLUMNS)]
    for point in points_of(problem, MeasureConfig(fine=fine, growth=growth)):
        layer = layer_of(point)
        # Channels are padded to eights, and a larger kernel is the more efficient one.
        padded = np.prod([-(-c // 8) * 8 / c for c in (point.c_in, point.c_out)])
        ms = 0.002 + layer_macs(layer) / 1e6 * padded / point.kernel**0.5
        ms += moved(layer) / 1e6 * (1.0 + 2.0 * (point.kind == "depthwise"))
        ms *= np.exp(rough * rng.standard_normal())
        cells = (*point.row, 1, "float32", "made up", float(f"{ms:.6g}"))
        lines.append(",".join(map(str, cells)))
    path.write_text("\n".join(lines) + "\n")
    return str(path)
