import threading

import numpy as np
from threadpoolctl import ThreadpoolController, threadpool_limits

from deepmad_jax.design.designer import design_network
from deepmad_jax.design.program.problem import Problem
from deepmad_jax.design.program.threads import one_thread
from deepmad_jax.design.search import dive
from tests.design.problems import TINY_SPACE


def counts():
    """Threads of linear algebra now, of each library that does it."""
    np.linalg.solve(np.eye(2), np.ones(2))
    libraries = ThreadpoolController().select(user_api="blas").info()
    return {library["num_threads"] for library in libraries}


def test_a_design_has_one_thread_of_linear_algebra_and_leaves_the_process_its_own(monkeypatch):
    seen = []

    def spy(*args):
        seen.append(counts())
        return of_product(*args)

    of_product = dive.inner_bounds
    monkeypatch.setattr(dive, "inner_bounds", spy)
    with threadpool_limits(2, user_api="blas"):
        before = counts()
        design_network(Problem(**TINY_SPACE, macs=2e5))
        assert counts() == before
    assert set.union(*seen) == {1}


def test_second_thread_inside_leaves_the_process_its_threads():
    inside, leave, left = threading.Event(), threading.Event(), threading.Event()

    def other():
        with one_thread():
            inside.set()
            leave.wait()
        left.set()

    before = counts()
    threading.Thread(target=other, daemon=True).start()
    inside.wait()
    with one_thread():
        leave.set()
        left.wait()
    assert counts() == before
