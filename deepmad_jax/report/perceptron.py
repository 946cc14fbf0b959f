"""A designed perceptron as a table for the terminal: its layers, and its use of the budgets."""

import itertools
from typing import Any

from deepmad_jax.arch.cost import layer_params
from deepmad_jax.arch.mlp import MlpArchitecture, mlp_table
from deepmad_jax.report.read import finite, mapping
from deepmad_jax.report.table import COLUMNS, Table, printable, to_text


def perceptron_table(arch: MlpArchitecture, design: dict[str, Any]) -> str:
    """The design as text.

    Args:
        arch: the network.
        design: the contents of ``perceptron.json``.
    """
    title = (
        f"{printable(arch.name, COLUMNS)}\n{arch.input_width:,} inputs, {arch.classes:,} classes"
    )
    tables = (_layers(arch), _numbers(design))
    return "\n\n".join([title, *(to_text(table) for table in tables)]) + "\n"


def _layers(arch: MlpArchitecture) -> Table:
    """Equal layers in one row; the first of a width differs by its inputs."""
    dense = [row.layer for row in mlp_table(arch) if row.layer.kind == "dense"]
    rows = []
    for (c_in, c_out, branch), same in itertools.groupby(
        dense, key=lambda layer: (layer.c_in, layer.c_out, layer.branch)
    ):
        layers = list(same)
        params = sum(layer_params(layer) for layer in layers)
        name = "classifier" if branch == "head" else "dense"
        rows.append((name, f"{c_in:,}", f"{c_out:,}", f"{len(layers):,}", f"{params:,}"))
    total = ("total", "", "", f"{len(dense):,}", f"{arch.num_params:,}")
    header = ("", "inputs", "width", "layers", "params")
    return Table("Layers", header, (*rows, total), "lrrrr", total=True)


def _numbers(design: dict[str, Any]) -> Table:
    problem = mapping(design.get("problem"))
    budgets = {key: finite(problem.get(key)) for key in ("params", "rho")}
    shown = {key: "no limit" if b is None else f"{b:,g}" for key, b in budgets.items()}
    relaxed = finite(design.get("relaxed_entropy_nats"))
    rows = (
        ("params", f"{design['params']:,}", shown["params"]),
        ("rho", f"{design['rho']:,.4f}", shown["rho"]),
        ("MACs", f"{design['macs']:,}", ""),
        ("entropy, nats", f"{design['entropy_nats']:,.2f}", ""),
        ("relaxed entropy", "-" if relaxed is None else f"{relaxed:,.2f}", ""),
        ("candidates", f"{design['candidates']:,}", ""),
        ("seconds", f"{design['seconds']:,.2f}", ""),
    )
    return Table("Design", ("", "used", "budget"), rows, "lrr")
