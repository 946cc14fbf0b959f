# %% [markdown]
# # Many budgets, and the frontier
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/REPOSITORY_OWNER/deepmad_jax/blob/main/notebooks/03_sweep_and_frontier.ipynb)
#
# A design is cheap, so design for many budgets and choose among the results.

# %%
# Installs the package where it is missing, as in Colab.
import importlib.util
import subprocess
import sys

REPOSITORY = "https://github.com/REPOSITORY_OWNER/deepmad_jax"
if importlib.util.find_spec("deepmad_jax") is None:
    package = f"deepmad_jax[train,report] @ git+{REPOSITORY}"
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", package], check=True)

# %%
import dataclasses
import json
import tempfile
from pathlib import Path

from IPython.display import Image, display

from deepmad_jax.arch import Architecture
from deepmad_jax.design import Problem, elasticities, solve_relaxed
from deepmad_jax.design.program.spaces import CIFAR
from deepmad_jax.design.studies.settings import Sweep
from deepmad_jax.design.studies.sweep import problems_of, run_sweep
from deepmad_jax.report import canvas, design_table
from deepmad_jax.report.sweep import frontier, frontier_figure, rho_figure

# %% [markdown]
# ## 120 random budgets
#
# The space is the paper's for CIFAR; budgets are drawn between the ends of each list, evenly in the
# logarithm. Each row is written as it is solved, so the cell can be interrupted and run again.

# %%
base = Problem(**CIFAR, resolution=32, classes=100)
sweep = Sweep(macs=(15e6, 150e6), params=(0.1e6, 1.5e6), rho=(0.05, 0.8), random=120)
problems = problems_of(base, sweep)
file = Path(tempfile.mkdtemp()) / "sweep.jsonl"
rows = run_sweep(problems, file, workers=1)
met = [row for row in rows if row["feasible"]]
print(f"{len(met)} of {len(rows)} budgets can be met")

# %% [markdown]
# ## What a budget buys
#
# The line joins the designs that no cheaper one beats.

# %%
with canvas.style("notebook"):
    display(Image(canvas.to_png(frontier_figure(met))))

# %% [markdown]
# ## How rho trades depth for width
#
# Entropy and depth grow with rho, width falls: the paper's Figures 2 and 5 show the same for networks
# of one size.

# %%
with canvas.style("notebook"):
    display(Image(canvas.to_png(rho_figure(met))))

# %% [markdown]
# ## Choose one
#
# The cheapest design on the frontier of parameters that has 90 % of the greatest objective:

# %%
best = frontier(met, "params")
enough = 0.9 * best[-1]["objective"]
chosen = next(row for row in best if row["objective"] >= enough)
architecture = Architecture.from_json(chosen["architecture"])
print(design_table(architecture))

# %% [markdown]
# ## Between two budgets: prices and elasticities
#
# Near one budget no sweep is needed. The multipliers of the relaxed program say what the whole of
# each budget is worth at the margin (a hundredth of it is what 1 % more buys), and differentiating
# its optimality conditions says by how many percent each relaxed width and depth would move.

# %%
problem = dataclasses.replace(
    base, macs=chosen["macs_budget"], params=chosen["params_budget"], rho=chosen["rho_budget"]
)
solution = solve_relaxed(problem)
print(
    "nats for 1 % more:", {name: round(price / 100, 2) for name, price in solution.prices.items()}
)
for budget, moved in elasticities(problem, solution).items():
    print(f"1 % more {budget:6}: widths % {moved.width.round(2)}, depths % {moved.depth.round(2)}")

# %% [markdown]
# The rows hold everything, the architecture included; `sweep.jsonl` has one a line:

# %%
first = json.loads(file.read_text().splitlines()[0])
print({name: first[name] for name in ("macs_budget", "params_budget", "rho_budget", "objective")})

# %% [markdown]
# Next: [train, evaluate and export a small one](04_train_and_export.ipynb).
