"""Packs the images of COCO splits into one ArrayRecord file each, in the order of their JSON.

python launch/pack_coco.py coco train2017 val2017
"""

import argparse
from pathlib import Path

from deepmad_jax.data.coco_images import pack


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="holds annotations/ and a folder for each split")
    parser.add_argument("splits", nargs="+")
    args = parser.parse_args()
    for split in args.splits:
        annotations = args.folder / "annotations" / f"instances_{split}.json"
        records = args.folder / f"{split}.array_record"
        count = pack(annotations, args.folder / split, records)
        print(f"Packed {count:,} images into {records}.")


if __name__ == "__main__":
    main()
