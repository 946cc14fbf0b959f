"""Compiled programs are kept between processes, and damage among them mends itself."""

import os
import subprocess
import sys

CODE = """
import sys
from pathlib import Path
import jax
from deepmad_jax.compiled import keep_compiled_programs

keep_compiled_programs()
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
print(jax.jit(lambda x: x + 1)(1.0))
"""


def run(**environment):
    env = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"} | environment
    return subprocess.run(
        [sys.executable, "-c", CODE], env=env, capture_output=True, text=True, check=True
    )


def test_a_program_cut_short_is_written_anew_without_a_word(tmp_path):
    environment = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path)}
    run(**environment)
    files = [file for file in tmp_path.iterdir() if file.name.endswith("-cache")]
    assert files
    whole = {file: file.stat().st_size for file in files}
    for file in files:
        os.truncate(file, 30)
    again = run(**environment)
    assert "2.0" in again.stdout
    assert again.stderr == ""
    assert {file: file.stat().st_size for file in files} == whole


def test_other_warnings_are_shown(tmp_path):
    code = CODE + "\nimport warnings\nwarnings.warn('of something else')"
    env = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(tmp_path)}
    said = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert "of something else" in said.stderr


def test_the_users_cache_folder_is_the_default(tmp_path):
    run(XDG_CACHE_HOME=str(tmp_path))
    assert list((tmp_path / "deepmad_jax").iterdir())
