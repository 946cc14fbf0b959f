"""``deepmad``: the library and the jobs as a console script.

    deepmad design --macs 1.8G --params 11.7M --rho 0.3 --out my.json
    deepmad compare resnet50 deepmad_r50 my.json
    deepmad train digits
    deepmad export runs/digits --to onnx

It holds no logic of its own: `design`, `compare` and `export` call the library, `train` is
``python -m deepmad_jax.main``. What a value may be is said by `fields`, as for config files.
Exit statuses: `main.exit_status`.
"""

from deepmad_jax.cli.commands import main

__all__ = ["main"]
