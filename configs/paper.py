"""Every table and figure of the paper as one command, ours beside the paper's figures.

Source: the paper (CVPR 2023, arXiv 2303.02165); what it prints is in `deepmad_jax.paper`.
Command: python -m deepmad_jax.main --config configs/paper.py
It designs every network that the tables ask for, looks for finished trainings under ``runs``
(--config.paper.results) and leaves one page, runs/paper/paper.html. Two CPU cores: 2 minutes
(2026-11-30). It trains nothing.
Variants: ``configs/paper.py:table1`` to ``:table12``, ``:fig1`` to ``:fig5`` and ``:claims`` make
one of them. Where trainings stand behind it, --config.jobs=study,paper --workdir runs does them
first, by the configs of the rows, in the folders that the paper job looks in; none of these has
been run. ``:table1_digits``, ``:table7_digits``, ``:table8_digits`` and ``:fig2_digits`` are the
same in small, on scikit-learn's digits, three seeds, some minutes each on a CPU.
Expected: docs/paper.md has the results of 2026-11-30.
"""

import math

from deepmad_jax.config import default_config
from deepmad_jax.paper import PARTS, TABLES, runs_of
from deepmad_jax.recipes import CIFAR_SPACE, DIGITS_RECIPE, take_variant

_DIGITS = {
    **CIFAR_SPACE,
    **DIGITS_RECIPE,
    "jobs": ("study", "paper"),
    "design.macs": 2e6,
    "design.params": 2e4,
    "design.rho": 0.3,
    "train.epochs": 10.0,
    "train.warmup_epochs": 1.0,
    # So that a last stage that does not widen learns as fast (docs/evidence.md).
    "train.zero_init": False,
    "study.seeds": (0, 1, 2),
}

# A budget at which every weight and every guideline gives another network; at most others some of
# them change nothing.
_TELLING = {
    "design.macs": 1e6,
    "design.params": 3e4,
    "design.rho": 0.2,
    "train.epochs": 6.0,
    "train.warmup_epochs": 0.6,
}

_REDUCED = {
    "table1_digits": {
        "study.runs": tuple(f"design.rho={rho}" for rho in (0.1, 0.3, 0.5, 0.7)),
    },
    "table7_digits": {
        **_TELLING,
        "study.runs": tuple(f"design.alpha=1,1,{alpha}" for alpha in (1, 8, 16)),
    },
    "table8_digits": {
        **_TELLING,
        "study.runs": (
            "design.alpha=0,0,8", "design.beta=0", "design.monotone=false", "design.beta=10",
        ),
    },
    "fig2_digits": {
        "design.macs": 1e6,
        "design.params": 1e4,
        "design.rho": math.inf,  # each network's own, by its stratum
        "train.epochs": 6.0,
        "train.warmup_epochs": 0.6,
        "sample.count": 16,
        "sample.max_growth": 2.0,
        "paper.parts": ("fig2", "fig3", "fig5"),
    },
}  # fmt: skip

VARIANTS = {
    **{part: {"jobs": ("paper",), "paper.parts": (part,)} for part in PARTS},
    **{
        name: {**_DIGITS, "paper.parts": (name.partition("_")[0],), **fields}
        for name, fields in _REDUCED.items()
    },
}
for _part, _table in TABLES.items():
    VARIANTS[_part]["study.runs"] = runs_of(_table)


def get_config(variant: str = ""):
    """The config; ``variant`` is empty or one of `VARIANTS`."""
    config = default_config()
    config.name = "paper"
    config.jobs = ("paper",)
    take_variant(config, variant, VARIANTS)
    return config
