"""Draws a small data set in COCO's format: discs, rectangles and triangles with boxes and polygons.

python launch/draw_shapes.py data/shapes [--train 600] [--val 60] [--seed 0]
"""

import argparse
from pathlib import Path

from deepmad_jax.data.shapes import draw_shapes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="what --config.data.data_dir names then")
    parser.add_argument("--train", type=int, default=600, help="training images")
    parser.add_argument("--val", type=int, default=60, help="evaluation images")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    draw_shapes(args.folder, {"train": args.train, "val": args.val}, args.seed)
    print(f"Drew {args.train} and {args.val} images in {args.folder}.")


if __name__ == "__main__":
    main()
