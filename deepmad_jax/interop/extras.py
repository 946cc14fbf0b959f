"""Packages that only some formats need, imported where they are used."""

import importlib
from types import ModuleType

from deepmad_jax.errors import UserError


def need(module: str, extra: str) -> ModuleType:
    """The module, imported; ``extra`` of this package installs it.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise UserError(
            f"This format needs {error.name}, which is not installed: pip install "
            f"'deepmad_jax[{extra}]', or -e '.[{extra}]' in a checkout."
        ) from error
