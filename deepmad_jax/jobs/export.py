"""The job that writes a trained network in other formats."""

import functools
from collections.abc import Container
from pathlib import Path

from deepmad_jax.arch.spec import Architecture
from deepmad_jax.config import Config
from deepmad_jax.errors import InvalidConfig, MissingData
from deepmad_jax.jobs.workdir import architecture_of


def export(config: Config, workdir: Path) -> None:
    """Writes a checkpoint's network in every format of ``config.export``."""
    from deepmad_jax import library

    architecture = architecture_of(config, workdir)
    if config.task == "detect":
        _export_detector(config, architecture, workdir)
        return
    if config.task == "segment":
        _export_segmenter(config, architecture, workdir)
        return
    if config.task == "video":
        _export_recogniser(config, architecture, workdir)
        return
    net = library.load(workdir, architecture=architecture, checkpoint=config.checkpoint)
    if net is architecture:
        raise MissingData(
            f"There is no checkpoint in {workdir / 'checkpoints'} to export: run the train job "
            "first (--config.jobs=train,export)."
        )
    for name in config.export:
        (path,) = library.export(net, workdir, [name], config.export_fold)
        print(f"Saved {path}.", flush=True)


def _export_detector(config: Config, architecture: Architecture, workdir: Path) -> None:
    """Writes ``detector.onnx``, in the one format that detectors are exported in."""
    from deepmad_jax.tasks.detect.loaded import load_detector
    from deepmad_jax.tasks.detect.onnx_export import write_detector

    if config.export != ("onnx",):
        raise InvalidConfig(
            f"config.export is {','.join(config.export)}, but detectors are exported as onnx only: "
            "--config.export=onnx"
        )
    net, _ = load_detector(config, architecture, workdir)
    height, width = config.detect.export_size
    path = workdir / "detector.onnx"
    for written in write_detector(net, path, (height, width), config.detect.export_nms):
        print(f"Saved {written}.", flush=True)


def _export_segmenter(config: Config, architecture: Architecture, workdir: Path) -> None:
    """Writes ``segmenter.onnx`` or ``segmenter.stablehlo``, or both."""
    from deepmad_jax.tasks.segment import exports
    from deepmad_jax.tasks.segment.loaded import load_segmenter

    known = {
        "onnx": exports.write_segmenter_onnx,
        "stablehlo": exports.write_segmenter_stablehlo,
    }
    _refuse_others(config, known, "segmenters")
    net, _ = load_segmenter(config, architecture, workdir)
    height, width = config.segment.export_size
    for name in config.export:
        path = workdir / f"segmenter.{name}"
        known[name](net, path, (height, width))
        print(f"Saved {path}.", flush=True)


def _export_recogniser(config: Config, architecture: Architecture, workdir: Path) -> None:
    """Writes ``recogniser.onnx`` or ``recogniser.stablehlo``, or both."""
    from deepmad_jax.tasks.video import exports
    from deepmad_jax.tasks.video.loaded import load_recogniser

    known = {
        "onnx": exports.write_recogniser_onnx,
        "stablehlo": functools.partial(
            exports.write_recogniser_stablehlo, side=config.video.test_crop
        ),
    }
    _refuse_others(config, known, "recognisers")
    net, _ = load_recogniser(config, architecture, workdir)
    for name in config.export:
        path = workdir / f"recogniser.{name}"
        known[name](net, path)
        print(f"Saved {path}.", flush=True)


def _refuse_others(config: Config, known: Container[str], what: str) -> None:
    if any(name not in known for name in config.export):
        raise InvalidConfig(
            f"config.export is {','.join(config.export)}, but {what} are exported as onnx and "
            "stablehlo only: --config.export=onnx,stablehlo"
        )
