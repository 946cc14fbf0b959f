"""Writes a small data set of videos: shapes whose class is how they move, in six classes.

python launch/draw_motion.py data/motion [--train 900] [--val 120] [--seed 0] [--trail 10]
"""

import argparse
from pathlib import Path

from deepmad_jax.data.motion import TRAIL, draw_motion


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="what --config.data.data_dir names then")
    parser.add_argument("--train", type=int, default=900, help="training videos")
    parser.add_argument("--val", type=int, default=120, help="evaluation videos")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trail", type=int, default=TRAIL, help="steps that are seen; 1: no glow")
    args = parser.parse_args()
    draw_motion(args.folder, {"train": args.train, "val": args.val}, args.seed, args.trail)
    print(f"Drew {args.train} and {args.val} videos in {args.folder}.")


if __name__ == "__main__":
    main()
