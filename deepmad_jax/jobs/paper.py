"""The job that makes the paper's tables and figures, with ours beside them.

It designs what a table asks for, counts what is published, looks for runs that have ended, and
leaves ``paper.html``, the pictures and a CSV for each table. It trains nothing.
"""

from pathlib import Path

from deepmad_jax.config import Config
from deepmad_jax.jobs.workdir import write
from deepmad_jax.paper import PARTS
from deepmad_jax.paths import local
from deepmad_jax.report.table import to_csv, to_text


def paper(config: Config, workdir: Path) -> None:
    """Makes ``config.paper.parts``, or all; prints the tables, writes files and the page."""
    from deepmad_jax.jobs.paper_parts import make
    from deepmad_jax.report.paper.page import write_paper
    from deepmad_jax.report.paper.tables import title_of

    results = local(config.paper.results)
    made = []
    for name in config.paper.parts or PARTS:
        print(f"Making {title_of(name)} ...", flush=True)
        part = make(name, workdir, results)
        for file, table in part.tables.items():
            print(f"\n{to_text(table)}\n")
            write(workdir / f"{file}.csv", to_csv(table))
        for file, picture in part.pictures.items():
            (workdir / f"{file}.png").write_bytes(picture.png)
        made.append(part)
    page = write_paper(made, workdir)
    print(f"Saved {page}, and its tables and pictures beside it.", flush=True)
