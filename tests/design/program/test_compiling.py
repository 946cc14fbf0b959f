"""Compiler options that come and go with XLA's versions."""

import jax
import pytest

from deepmad_jax.compiler_options import known_options
from deepmad_jax.design.program import compiling


@pytest.fixture
def options(monkeypatch):
    known_options.cache_clear()
    yield lambda found: monkeypatch.setattr(compiling, "_OPTIONS", found)
    known_options.cache_clear()


def test_an_option_that_this_compiler_does_not_know_is_left_out(options):
    known = {"xla_backend_optimization_level": 1}
    options({"xla_no_such_option": True})
    assert known_options((("xla_no_such_option", True), *known.items())) == known
    assert compiling.jit_soon_ready(lambda x: 2 * x, level=1)(3) == 6


def test_a_function_is_compiled_once_for_all_calls(options):
    traced = []

    def plus_one(x):
        traced.append(x)
        return x + 1

    function = compiling.jit_soon_ready(plus_one, level=0)
    assert [float(function(jax.numpy.float32(i))) for i in range(3)] == [1.0, 2.0, 3.0]
    assert len(traced) == 1
