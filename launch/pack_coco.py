"""Packs the images of COCO splits into one ArrayRecord file each, in the order of their JSON.

python launch/pack_coco.py coco train2017 val2017
"""

import argparse
import sys
from pathlib import Path

from deepmad_jax.data.coco_images import pack
from deepmad_jax.data.coco_index import read_index
from deepmad_jax.errors import UserError


def main(argv: list[str] | None = None) -> int:
    """Packs what the command line names; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="holds annotations/ and a folder for each split")
    parser.add_argument("splits", nargs="+")
    args = parser.parse_args(argv)
    try:
        for split in args.splits:
            annotations = args.folder / "annotations" / f"instances_{split}.json"
            records = args.folder / f"{split}.array_record"
            files = read_index(str(annotations)).files
            pack(files, args.folder / split, records)
            print(f"Packed {len(files):,} images into {records}.")
    except UserError as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
