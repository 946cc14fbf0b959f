"""Memory that is freed stays with a process of our own, and with no other."""

import subprocess
import sys

import pytest

FAULTS = """
import os, resource, sys
for name in [*os.environ]:
    if name.startswith("MALLOC_") or name == "GLIBC_TUNABLES":
        del os.environ[name]
os.environ.update(arg.split("=") for arg in sys.argv[2:])
from deepmad_jax.freed_memory import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
import jax, jax.numpy as jnp
work = jax.jit(lambda x, y: x @ y)  # 64 MB
given = jnp.ones((2**20, 16)), jnp.eye(16)
counts = []
for _ in range(8):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    work(*given).block_until_ready()
    counts.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(min(counts))
"""


def faults(*args):
    """Pages that a run of one program had cleared, the fewest of eight runs."""
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, *args], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="counts glibc's page faults")
def test_freed_memory_is_used_again_unless_the_user_chose_otherwise():
    assert faults("kept") < 1000 < 10_000 < faults("not")
    assert faults("kept", "MALLOC_ARENA_MAX=8") > 10_000


def test_another_c_library_is_left_alone(monkeypatch):
    import ctypes

    from deepmad_jax.freed_memory import keep_freed_memory

    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    keep_freed_memory()


GIVEN_BACK = """
import os
for name in [*os.environ]:
    if name.startswith("MALLOC_") or name == "GLIBC_TUNABLES":
        del os.environ[name]
from deepmad_jax.freed_memory import give_freed_memory_back, keep_freed_memory
keep_freed_memory()
resident = lambda: int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
pieces = [b"1" * (10**6 + i) for i in range(200)]
last = b"1" * 10**6  # above the others: what is free is not at the heap's end
before = resident()
del pieces
kept = resident()
give_freed_memory_back()
print(before - kept, kept - resident())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
def test_kept_memory_goes_back_when_told_to():
    done = subprocess.run(
        [sys.executable, "-c", GIVEN_BACK], capture_output=True, text=True, check=True
    )
    before, after = map(int, done.stdout.split())
    assert before < 10**7 < 10**8 < after
