"""Memory that is freed stays with a process of our own, and with no other."""

import platform
import subprocess
import sys

import pytest

of_glibc = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="other C libraries are left alone"
)

START = """
import os, sys, time
for name in [*os.environ]:
    if name.startswith("MALLOC_") or name == "GLIBC_TUNABLES":
        del os.environ[name]
os.environ.update(arg.split("=") for arg in sys.argv[2:])
from deepmad_jax.freed_memory import give_freed_memory_back, keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
resident = lambda: int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
"""

OF_A_PROGRAM = """
import jax, jax.numpy as jnp
y = jax.jit(lambda x, y: x @ y)(jnp.ones((2**20, 16)), jnp.eye(16)).block_until_ready()  # 64 MB
before = resident()
del y
for _ in range(200 if sys.argv[1] == "not" else 20):  # for threads that free
    if before - resident() > 2**25:
        break
    time.sleep(0.1)
print(before - resident())
"""


def printed(script, *args):
    """Numbers that a process of its own prints."""
    done = subprocess.run(
        [sys.executable, "-c", START + script, *args], capture_output=True, text=True, check=True
    )
    return [int(word) for word in done.stdout.split()]


@of_glibc
def test_freed_memory_stays_unless_the_user_chose_otherwise():
    assert printed(OF_A_PROGRAM, "kept")[0] < 2**25 < printed(OF_A_PROGRAM, "not")[0]


def test_nothing_is_set_where_the_user_set_something():
    script = """
import ctypes
def told(name):
    raise AssertionError("the C library was told something")
ctypes.CDLL = told
keep_freed_memory()
"""
    assert printed(script, "kept", "MALLOC_ARENA_MAX=8") == []


def test_another_c_library_is_left_alone(monkeypatch):
    import ctypes

    from deepmad_jax.freed_memory import keep_freed_memory

    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    keep_freed_memory()


GIVEN_BACK = """
pieces = [b"1" * (10**6 + i) for i in range(200)]
last = b"1" * 10**6  # above the others: what is free is not at the heap's end
before = resident()
del pieces
kept = resident()
give_freed_memory_back()
print(before - kept, kept - resident())
"""


@of_glibc
def test_kept_memory_goes_back_when_told_to():
    at_once, when_told = printed(GIVEN_BACK, "kept")
    assert at_once < 10**7 < 10**8 < when_told


FRAGMENTS = """
pieces = [bytes(30_000 + i) for i in range(2000)]
end = max(map(id, pieces))
del pieces[::2]
if sys.argv[1] == "kept":
    give_freed_memory_back()
new = [bytes(30_000) for _ in range(500)]
print(sum(id(piece) < end for piece in new))
"""


@of_glibc
def test_fragments_are_looked_at_no_more_once_memory_went_back():
    assert printed(FRAGMENTS, "not")[0] > 400
    assert printed(FRAGMENTS, "kept")[0] < 100


AGAIN = """
from deepmad_jax import freed_memory
aside = []
for _ in range(4):
    pieces = [bytes(30_000 + i) for i in range(2000)]
    last = bytes(30_000)
    del pieces[::2]
    give_freed_memory_back()
    aside.append(len(freed_memory._aside))
    del pieces, last
print(*aside)
"""


@of_glibc
def test_what_was_put_aside_is_free_again_the_next_time():
    counts = printed(AGAIN, "kept")
    assert counts[0] > 900
    assert max(counts) < 2 * counts[0]
