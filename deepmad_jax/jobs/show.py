"""The jobs that print networks and change nothing."""

from collections.abc import Iterable
from pathlib import Path

from deepmad_jax.arch.reference import resolve
from deepmad_jax.arch.zoo import ZOO, table_3
from deepmad_jax.config import Config
from deepmad_jax.jobs.workdir import architecture_of, read_json

TABLE_3 = "table3"
"""What stands for the networks of that table among the names to compare."""


def describe(config: Config, workdir: Path) -> None:
    """Prints the table of an architecture, with its design's numbers where they are there."""
    from deepmad_jax import report
    from deepmad_jax.design.program.levels import numbers_of

    architecture = architecture_of(config, workdir)
    found = workdir / "design.json"
    use_design = config.architecture is None and found.exists()
    numbers = read_json(found) if use_design else numbers_of(architecture)
    print(report.design_table(architecture, numbers))


def compare(config: Config, workdir: Path) -> None:
    """Prints ``config.names`` side by side; see `comparison`."""
    print(comparison(config.names))


def comparison(names: Iterable[str]) -> str:
    """Networks side by side: costs, rho, entropy, published accuracy; the zoo where none is named.

    ``table3`` among the names stands for the networks of the paper's Table 3.

    Raises:
        InvalidArchitecture: a name of no network or file.
    """
    from deepmad_jax import report
    from deepmad_jax.design.program.levels import numbers_of

    named = (every for name in names or ZOO for every in (table_3() if name == TABLE_3 else [name]))
    found = {name: resolve(name) for name in named}
    numbers = {name: numbers_of(architecture) for name, architecture in found.items()}
    return report.compare_table(found, numbers)


def draw_table_3(directory: Path) -> list[Path]:
    """Writes the paper's Figures 1 and 4 into a folder, which is made; returns their paths."""
    from deepmad_jax.report.accuracy import draw_accuracy

    directory.mkdir(parents=True, exist_ok=True)
    return draw_accuracy({name: ZOO[name] for name in table_3()}, directory)
