"""Draws a small data set in ADE20K's layout: scenes of four shapes, every pixel labelled.

python launch/draw_scenes.py data/scenes [--train 600] [--val 60] [--seed 0]
"""

import argparse
from pathlib import Path

from deepmad_jax.data.scenes import draw_scenes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="what --config.data.data_dir names then")
    parser.add_argument("--train", type=int, default=600, help="training images")
    parser.add_argument("--val", type=int, default=60, help="evaluation images")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    draw_scenes(args.folder, {"training": args.train, "validation": args.val}, args.seed)
    print(f"Drew {args.train} and {args.val} images in {args.folder}.")


if __name__ == "__main__":
    main()
