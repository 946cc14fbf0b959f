"""Compiler options that come and go with XLA's versions."""

import jax
import pytest

from deepmad_jax.design.program import compiling


@pytest.fixture
def options(monkeypatch):
    compiling._options.cache_clear()
    yield lambda found: monkeypatch.setattr(compiling, "_OPTIONS", found)
    compiling._options.cache_clear()


def test_an_option_that_this_compiler_does_not_know_is_left_out(options):
    known = {"xla_backend_optimization_level": 1}
    options({"xla_no_such_option": True, **known})
    assert compiling._options() == known
    assert compiling.jit_soon_ready(lambda x: 2 * x)(3) == 6


def test_a_function_is_compiled_once_for_all_calls(options):
    traced = []

    @compiling.jit_soon_ready
    def function(x):
        traced.append(x)
        return x + 1

    assert [float(function(jax.numpy.float32(i))) for i in range(3)] == [1.0, 2.0, 3.0]
    assert len(traced) == 1
