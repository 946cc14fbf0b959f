"""One core's CPU time for a training crop, out of a JPEG and out of pixels decoded beforehand.

    python -m benchmarks.cached_pixels --out=benchmarks/results/cached_pixels.json

Both read a record of an ArrayRecord file or a file from the page cache and end in a crop of 224
pixels; JPEGs are of ImageNet's size and a photograph's weight, pixels have a short side of 256.
Rounds take turns; medians and their ratio are what to read. On a disk that is slower than 250 KB an
image the pixels lose what they gain.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.input_pipeline import jpeg
from benchmarks.record import write_result
from deepmad_jax.config import DataConfig
from deepmad_jax.data.folder import open_folder
from deepmad_jax.data.images import random_cut
from deepmad_jax.data.pixels import RECORDS, with_pixels, write_pixels

IMAGES, ROUNDS, SHORT_PX, RESOLUTION_PX = 64, 7, 256, 224


def main() -> int:
    """Prints and writes milliseconds an image."""
    args = _arguments()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as made:
        root = Path(made)
        for split in ("train", "val"):
            for number in range(IMAGES if split == "train" else 1):
                path = root / split / "one" / f"{number}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(jpeg(number))
        config = DataConfig(source="folder", data_dir=made, eval_split="val")
        files = open_folder(config, RESOLUTION_PX, 3)
        write_pixels(files, root / "pixels", SHORT_PX)
        sources = {"jpeg": files.train, "pixels": with_pixels(files, root / "pixels").train}
        sizes = {
            "jpeg": sum(p.stat().st_size for p in (root / "train").rglob("*.jpg")) / IMAGES,
            "pixels": (root / "pixels" / RECORDS).stat().st_size / IMAGES,
        }
        times = _times(sources)
    result = {
        kind: {name: round(1e3 * statistics.median(rounds), 3) for name, rounds in found.items()}
        for kind, found in times.items()
    }
    for kind, found in result.items():
        found["ratio"] = round(found["jpeg"] / found["pixels"], 2)
        print(f"{kind:8} {found}")
    write_result(
        args.out,
        load,
        command="python -m benchmarks.cached_pixels " + " ".join(sys.argv[1:]),
        milliseconds_an_image=result,
        bytes_an_image={name: round(size) for name, size in sizes.items()},
    )
    return 0


def _times(sources: dict[str, Any]) -> dict[str, dict[str, list[float]]]:
    """CPU seconds an image of every round, by interpolation and source."""
    times: dict[str, dict[str, list[float]]] = {}
    scratch = np.empty(1 << 22, np.uint8)
    out = np.empty((RESOLUTION_PX, RESOLUTION_PX, 3), np.uint8)
    for interpolation in ("linear", "random"):
        times[interpolation] = {name: [] for name in sources}
        for turn in range(ROUNDS):
            for name, source in sources.items():
                rng = np.random.default_rng(turn)  # the same crops of both
                began = time.process_time()
                for number in range(IMAGES):
                    random_cut(
                        rng,
                        source[number]["image"],
                        channels=3,
                        resolution_px=RESOLUTION_PX,
                        scale_min=0.08,
                        interpolation=interpolation,
                        scratch=scratch,
                        out=out,
                    )
                times[interpolation][name].append((time.process_time() - began) / IMAGES)
    return times


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
