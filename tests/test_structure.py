"""The walls between the packages, held by parsing imports and by importing in fresh processes."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "deepmad_jax"

# package -> what it may import of ours, besides itself, errors, fields and the version.
ALLOWED = {
    "arch": set(),
    "design": {"arch"},
    "nets": {"arch"},
    "interop": {"arch", "nets"},
    "report": {"arch"},
    "data": {"config"},
    "train": {"config"},
    "tasks": {"arch", "config", "data", "nets", "train"},
    "config": {"arch", "design"},
    "library": {"arch", "design", "interop", "nets", "report", "train"},
    "fields": set(),
    "errors": set(),
}


def _imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("deepmad_jax.")}


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_package_imports_only_what_the_design_allows(package):
    files = list((ROOT / package).rglob("*.py")) or [ROOT / f"{package}.py"]
    for path in files:
        foreign = _imports(path) - ALLOWED[package] - {package, "errors", "fields"}
        assert not foreign, f"{path.name} imports {foreign}"


def test_every_package_has_a_rule():
    found = {p.name for p in ROOT.iterdir() if p.is_dir() and p.name != "__pycache__"}
    assert found <= set(ALLOWED)


def test_only_inner_imports_jaxopt():
    users = [p.name for p in ROOT.rglob("*.py") if "jaxopt\n" in p.read_text() + "\n"]
    importing = [p.name for p in ROOT.rglob("*.py") if "import jaxopt" in p.read_text()]
    assert importing == ["inner.py"], users


def test_designing_loads_neither_flax_nor_tensorflow():
    code = (
        "import sys, deepmad_jax.design.designer\n"
        "bad = {'flax', 'optax', 'tensorflow', 'torch', 'orbax', 'grain'} & set(sys.modules)\n"
        "sys.exit(bool(bad))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_reading_a_config_does_not_start_jax():
    code = "import sys, deepmad_jax.config; sys.exit('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
