"""Compiled programs of the tests live in a folder of their own: what others left is not tested."""

import os
import shutil
import tempfile


def pytest_configure(config):
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = config.compiled = tempfile.mkdtemp()


def pytest_unconfigure(config):
    if hasattr(config, "compiled"):
        shutil.rmtree(config.compiled, ignore_errors=True)
