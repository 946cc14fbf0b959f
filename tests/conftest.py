"""Compiled programs of the tests live in a folder of their own: what others left is not tested.

They are compiled quickly, not to be quick: tests compile many programs and run each a few times.
"""

import os
import shutil
import tempfile

import pytest

MOST_PROCESSES = 2
"""Of `make test`: each comes to 6 GB, and the tests start processes of their own."""

QUICKLY = "--xla_cpu_use_fusion_emitters=false --xla_backend_optimization_level=1"
"""Options of XLA with which `tests/nets` take 0.6 of the time."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return min(MOST_PROCESSES, cores)


def pytest_configure(config):
    os.environ.setdefault("XLA_FLAGS", QUICKLY)
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = config.compiled = tempfile.mkdtemp()


def pytest_unconfigure(config):
    if hasattr(config, "compiled"):
        shutil.rmtree(config.compiled, ignore_errors=True)
