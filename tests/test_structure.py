"""The walls between the packages and between the rooms of `design`, held by parsing imports."""

import ast
import graphlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent
ROOT = PROJECT / "deepmad_jax"

# Package or module -> what it may import of ours besides itself, errors, fields and paths.
ALLOWED = {
    "arch": set(),
    "design": {"arch", "compiler_options", "cores"},
    "nets": {"arch", "unstacked"},
    "interop": {"arch", "nets"},
    "paper": {"arch"},
    "report": {"arch", "paper"},
    "config": {"arch", "design", "paper"},
    "data": {"config", "cores"},
    "measure": {"arch", "compiler_options", "config", "design", "nets"},
    "train": {"compiler_options", "config", "cores", "freed_memory", "unstacked"},
    "tasks": {
        *("arch", "config", "data", "fetched", "interop", "nets", "train", "trained", "unstacked"),
    },
    "fetched": {"data"},
    "trained": {"arch", "interop", "nets", "train"},
    "library": {"arch", "design", "interop", "nets", "report", "trained"},
    "recipes": {"design"},
    "compared_recipes": {"recipes"},
    "video_recipes": {"arch", "recipes"},
    "processes": set(),
    "jobs": {
        *("arch", "config", "design", "library", "measure", "paper", "processes", "report"),
        *("tasks", "train"),
    },
    "interrupts": set(),
    "compiled": set(),
    "compiler_options": set(),
    "cores": set(),
    "freed_memory": set(),
    "main": {"compiled", "config", "freed_memory", "interrupts", "jobs", "processes"},
    "cli": {
        *("__init__", "arch", "compiled", "config", "design", "freed_memory", "interrupts", "jobs"),
        *("library", "main", "serve"),
    },
    "serve": {"design", "library", "report"},
    "fields": set(),
    "errors": set(),
    "paths": set(),
    "unstacked": set(),
    "__init__": {"arch", "design", "library"},
}

# Room of `design` -> which other rooms it may import.
ROOMS = {
    "program": set(),
    "relaxation": {"program"},
    "search": {"program", "relaxation"},
    "certificate": {"program"},
    "perceptron": {"program", "relaxation"},
    "designer": {"program", "relaxation", "search"},
    "improve": {"program", "search", "certificate"},
    "studies": {"program", "relaxation", "search", "certificate", "perceptron", "designer"},
}


def module_of(path: Path) -> str:
    """The dotted name of a file of the project."""
    parts = path.relative_to(PROJECT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(text: str, module: str, is_package: bool = False) -> set[str]:
    """Dotted names that a file imports, wherever in it, relative ones resolved."""
    names = set()
    package = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            if node.level:
                base = importlib.util.resolve_name(base, package)
            names |= {f"{base}.{alias.name}" for alias in node.names}
    return names


def imports_of_file(path: Path) -> set[str]:
    return imports_of(path.read_text(), module_of(path), path.name == "__init__.py")


def graph() -> dict[str, set[str]]:
    """Module -> modules of the project that it imports; a name inside one stands for that one."""
    folders = ("deepmad_jax", "benchmarks", "configs", "launch")
    files = [path for folder in folders for path in (PROJECT / folder).rglob("*.py")]
    modules = {module_of(path): path for path in files}
    arrows = {}
    for module, path in modules.items():
        names = imports_of_file(path)
        # "a.b.c" is the module a.b.c, or the name c of the module a.b.
        found = {name if name in modules else name.rpartition(".")[0] for name in names}
        arrows[module] = (found & set(modules)) - {module}
    return arrows


GRAPH = graph()


def ours(module: str) -> set[str]:
    """Parts of the package that a module imports: the names after ``deepmad_jax``."""
    names = {name for name in GRAPH[module] if name.split(".")[0] == "deepmad_jax"}
    return {name.split(".")[1] if "." in name else "__init__" for name in names}


def part_of(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


MODULES = sorted(module for module in GRAPH if module.split(".")[0] == "deepmad_jax")


@pytest.mark.parametrize("module", MODULES)
def test_module_imports_only_what_its_package_may(module):
    part = part_of(module)
    foreign = ours(module) - ALLOWED[part] - {part, "errors", "fields", "paths"}
    assert not foreign, f"{module} imports {foreign}"


def test_every_package_and_module_has_a_rule():
    assert {part_of(module) for module in MODULES} == set(ALLOWED)


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith("deepmad_jax.design.")])
def test_rooms_of_design_import_only_the_rooms_before_them(module):
    room = module.split(".")[2]
    rooms = {n.split(".")[2] for n in GRAPH[module] if n.startswith("deepmad_jax.design.")}
    foreign = rooms - ROOMS[room] - {room}
    assert not foreign, f"{module} imports {foreign}"


def test_no_two_files_import_each_other_in_a_loop():
    # Imports inside functions and under TYPE_CHECKING count too.
    tuple(graphlib.TopologicalSorter(GRAPH).static_order())  # raises CycleError with the loop


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import a.b", {"a.b"}),
        ("from a import b as c", {"a.b"}),
        ("from . import b", {"pkg.room.b"}),
        ("from .other import b", {"pkg.room.other.b"}),
        ("from ..other import b", {"pkg.other.b"}),
        ("def f():\n    from a import b", {"a.b"}),
        ("if TYPE_CHECKING:\n    from a import b", {"a.b"}),
    ],
)
def test_no_way_of_importing_is_overlooked(text, found):
    assert imports_of(text, "pkg.room.file") == found


def test_runner_and_protocol_of_tasks_import_no_task():
    runners = ("run", "prepared", "rates", "average", "given")
    for module in (f"deepmad_jax.tasks.{name}" for name in (*runners, "task")):
        tasks = {n for n in GRAPH[module] if n.startswith("deepmad_jax.tasks")}
        assert tasks <= {"deepmad_jax.tasks.task", "deepmad_jax.tasks.prepared"}, module


def test_stream_of_batches_knows_nothing_of_labels():
    reached, todo = set(), ["deepmad_jax.data.stream"]
    while todo:
        module = todo.pop()
        reached.add(module)
        todo += GRAPH[module] - reached
    assert not {"deepmad_jax.data.labelled", "deepmad_jax.config.data"} & reached


def test_only_one_file_imports_jaxopt():
    users = [
        module_of(path)
        for path in ROOT.rglob("*.py")
        if "jaxopt" in {name.split(".")[0] for name in imports_of_file(path)}
    ]
    assert users == ["deepmad_jax.design.relaxation.lbfgs"]


def test_lists_of_the_config_are_the_tables_of_what_runs():
    from deepmad_jax.config import EXPORTS, JOBS, TASKS
    from deepmad_jax.interop.formats import EXPORTS as FORMATS
    from deepmad_jax.jobs import DISPATCH, TOGETHER
    from deepmad_jax.tasks import TASKS as TABLE

    assert set(JOBS) == set(DISPATCH)
    assert len(JOBS) == len(set(JOBS))
    assert set(TOGETHER) <= set(JOBS)
    assert set(TASKS) == set(TABLE)
    assert set(EXPORTS) == set(FORMATS)


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        ("import deepmad_jax", {"jax", "numpy"}),
        ("import deepmad_jax.config", {"jax", "flax", "optax"}),
        (
            "import deepmad_jax.design.designer",
            {"flax", "optax", "tensorflow", "torch", "orbax", "grain"},
        ),
        ("import deepmad_jax.main", {"jax", "flax", "optax", "tensorflow", "matplotlib"}),
        ("import deepmad_jax.cli", {"jax", "flax", "optax", "tensorflow", "matplotlib"}),
    ],
)
def test_import_loads_nothing_heavy(code, heavy):
    check = f"import sys; {code}; print(*({heavy!r} & set(sys.modules))); "
    done = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, cwd=PROJECT, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
