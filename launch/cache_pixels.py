"""Decodes the training images of a config once, for `config.data.pixels_dir`.

    python launch/cache_pixels.py --config configs/r18.py --out /data/imagenet256
    python -m deepmad_jax.main --config configs/r18.py --config.data.pixels_dir=/data/imagenet256

Any flag ``--config.data.FIELD=VALUE`` that the training takes is taken here. ``--short_px`` is the
images' short side, by default 256; `deepmad_jax.data.pixels` says what is gained and lost.
"""

import sys
from pathlib import Path

from deepmad_jax.config import Config
from deepmad_jax.config.load import parse
from deepmad_jax.data.dataset import Dataset
from deepmad_jax.data.folder import open_folder
from deepmad_jax.data.pixels import write_pixels
from deepmad_jax.errors import InvalidConfig, UserError
from deepmad_jax.paths import local


def main(argv: list[str] | None = None) -> int:
    """Writes what the command line names; returns the exit status."""
    argv = list(sys.argv if argv is None else argv)
    try:
        out, short_px = _take(argv, "--out"), _take(argv, "--short_px") or "256"
        if out is None or not short_px.isdigit() or int(short_px) < 1:
            raise InvalidConfig(
                "Give --out=DIR, where the pixels go, and if you like --short_px=256, pixels."
            )
        config, _ = parse(argv)
        dataset = _opened(config)
        print(f"Decoding {len(dataset.train):,} images of {dataset.name}.", flush=True)
        left_out = write_pixels(dataset, local(out), int(short_px), _tell)
    except UserError as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 2
    print(f"Saved {Path(out)}; {left_out} image(s) could not be read.")
    return 0


def _opened(config: Config) -> Dataset:
    channels = config.design.in_channels
    if config.data.source == "folder":
        return open_folder(config.data, 1, channels)
    if config.data.source == "tfds":
        from deepmad_jax.data.prepared import open_prepared

        return open_prepared(config.data, 1)
    raise InvalidConfig(
        f"config.data.source is {config.data.source!r}, whose images are not encoded: only those "
        "of folder and tfds are worth decoding beforehand."
    )


def _take(argv: list[str], flag: str) -> str | None:
    """The value of ``--flag=VALUE`` or ``--flag VALUE``, taken out of the line."""
    for place, item in enumerate(argv):
        name, equals, value = item.partition("=")
        if name == flag:
            if not equals:
                value = argv[place + 1] if place + 1 < len(argv) else ""
            del argv[place : place + (1 if equals else 2)]
            return value
    return None


def _tell(done: int) -> None:
    if done and done % 10_000 == 0:
        print(f"{done:,} done", flush=True)


if __name__ == "__main__":
    sys.exit(main())
