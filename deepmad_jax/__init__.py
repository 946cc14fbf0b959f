"""Design convolutional networks to a budget and train them, in JAX.

The command line is ``python -m deepmad_jax.main --config configs/r18.py``. Importing this package
loads nothing heavy: the parts are imported where they are used.
"""

__version__ = "0.1.0"
