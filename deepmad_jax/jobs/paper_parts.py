"""The paper's tables and figures one by one, with ours beside them."""

from pathlib import Path

from deepmad_jax.arch.zoo import zoo
from deepmad_jax.jobs.paper_rows import counts_of, lines_of, searched, settings
from deepmad_jax.jobs.reduced import random_networks, reduced_table
from deepmad_jax.paper import TABLES
from deepmad_jax.report.paper.claims import BASELINE_RHO, claims_of, claims_table
from deepmad_jax.report.paper.page import Part
from deepmad_jax.report.paper.tables import (
    ranking_table,
    recipe_table,
    results_table,
    search_table,
)


def make(name: str, workdir: Path, results: Path) -> Part:
    """A table, a figure or the claims.

    Args:
        name: of `deepmad_jax.paper.PARTS`.
        workdir: of the job, which may hold a study in small.
        results: holds the workdirs of runs.
    """
    if name in TABLES:
        tables = {name: results_table(name, TABLES[name], lines_of(name, results))}
        small = reduced_table(name, workdir, results)
        return Part(name, tables | ({f"{name}_small": small} if small else {}))
    if name == "table11":
        return Part(name, {name: search_table(searched(results))})
    if name == "table12":
        return Part(name, {name: recipe_table(settings())})
    if name == "claims":
        tables_of_all = {table: lines_of(table, results) for table in TABLES}
        rho = {network: counts_of(zoo(network)).rho or 0.0 for network in BASELINE_RHO}
        return Part(name, {name: claims_table(claims_of(tables_of_all, rho))})
    return _figure(name, workdir, results)


def _figure(name: str, workdir: Path, results: Path) -> Part:
    from deepmad_jax.report.paper import figures

    if name in ("fig1", "fig4"):
        return Part(name, {}, {name: figures.accuracy_picture(name, lines_of("table3", results))})
    draw = {
        "fig2": figures.rho_picture,
        "fig3": figures.entropy_picture,
        "fig5": figures.shape_picture,
    }[name]
    part = Part(name)
    for drawn in random_networks(workdir, results):
        file = f"{name}_{drawn.name}"
        if name == "fig3":
            part.tables[file] = ranking_table(drawn.networks, drawn.what)
        if name != "fig3" or any(network.top1 is not None for network in drawn.networks):
            part.pictures[file] = draw(drawn.networks, drawn.what, file)
    return part
