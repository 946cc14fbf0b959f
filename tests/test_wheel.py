"""The wheel: what is in it, and that its two programs run far from a checkout.

It is built from a copy, since building leaves files in the source tree, and installed in an
environment of its own with the packages that it says it needs, linked from this one.
"""

import email
import importlib.metadata
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
SOURCES = ("deepmad_jax", "configs")
FILES = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    pytest.importorskip("setuptools", minversion="77")
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in FILES:
        shutil.copyfile(ROOT / name, source / name)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    done = subprocess.run(
        [*command, "--no-index", "-w", str(built), str(source)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (path,) = built.glob("*.whl")
    return path


def needed_by(wheel):
    """The distributions that an installer would add for the wheel, without any extra."""
    with zipfile.ZipFile(wheel) as file:
        (metadata,) = (name for name in file.namelist() if name.endswith(".dist-info/METADATA"))
        said = email.message_from_bytes(file.read(metadata))
    found, todo = {}, said.get_all("Requires-Dist")
    while todo:
        requirement = Requirement(todo.pop())
        wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        name = canonicalize_name(requirement.name)
        if wanted and name not in found:
            found[name] = importlib.metadata.distribution(name)
            todo += found[name].requires or []
    return list(found.values())


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Runs a program of the wheel's environment in an empty folder."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, symlinks=True)
    python = home / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps"]
    done = subprocess.run([*install, "--no-index", str(wheel)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (site,) = (home / "lib").glob("python*/site-packages")
    for package in needed_by(wheel):
        tops = {file.parts[0] for file in package.files} - {"..", "__pycache__"}
        for top in tops:
            (site / top).symlink_to(package.locate_file(top))
    folder = tmp_path_factory.mktemp("elsewhere")

    def run(program, *arguments):
        done = subprocess.run(
            [str(home / "bin" / program), *arguments],
            cwd=folder,
            env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "JAX_PLATFORMS": "cpu"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run.folder = folder
    return run


def test_the_wheel_holds_every_file_of_the_package_and_the_configs(wheel):
    inside = set(zipfile.ZipFile(wheel).namelist())
    tracked = [path for path in (ROOT / "deepmad_jax").rglob("*") if path.is_file()]
    wanted = {str(path.relative_to(ROOT)) for path in tracked if "__pycache__" not in path.parts}
    configs = [path.relative_to(ROOT) for path in (ROOT / "configs").rglob("*.py")]
    assert any(len(path.parts) > 2 for path in configs)
    wanted |= {f"deepmad_jax/{path.as_posix()}" for path in configs}
    assert not wanted - inside
    # And nothing that would stand beside the package in everybody's site-packages.
    assert {name.split("/")[0].split("-")[0] for name in inside} == {"deepmad_jax"}


def test_the_package_is_the_wheels_and_not_the_checkouts(installed):
    printed = installed("python", "-c", "import deepmad_jax; print(deepmad_jax.__file__)")
    assert "environment" in printed
    assert str(ROOT) not in printed


def test_main_finds_a_config_that_came_with_the_wheel(installed):
    arguments = ("--config", "configs/digits.py", "--config.jobs=design")
    printed = installed("python", "-m", "deepmad_jax.main", *arguments)
    assert "Saved runs/digits/architecture.json" in printed
    assert (installed.folder / "runs/digits/report.html").exists()


def test_main_finds_a_config_of_a_folder_that_came_with_the_wheel(installed):
    arguments = ("--config", "compared/networks:deit_s", "--config.jobs=describe")
    assert "vit" in installed("python", "-m", "deepmad_jax.main", *arguments)


def test_the_console_script_designs_and_compares_its_design(installed):
    small = ("--params", "30k", "--block", "basic", "--resolution", "16", "--classes", "10")
    assert "30,000" in installed("deepmad", "design", *small, "--rho", "0.2", "-o", "my.json")
    printed = installed("deepmad", "compare", "resnet20", "my.json")
    assert [line.split()[0] for line in printed.splitlines()[3:5]] == ["resnet20", "my.json"]


def test_both_programs_tell_what_they_take(installed):
    assert "--config.design.macs=inf" in installed("python", "-m", "deepmad_jax.main", "--help")
    assert "compare" in installed("deepmad", "--help")
    assert installed("deepmad", "--version").startswith("deepmad, version ")
