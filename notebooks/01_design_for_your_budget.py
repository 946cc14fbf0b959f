# %% [markdown]
# # Design a network for your budget
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/REPOSITORY_OWNER/deepmad_jax/blob/main/notebooks/01_design_for_your_budget.ipynb)
#
# You say how many parameters and multiply-accumulates (MACs) a network may have; you get the
# convolutional network of greatest entropy within them. This takes about a second on a CPU, and the
# first design a few more for compiling.

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
from IPython.display import Image, display
from matplotlib import pyplot as plt

import deepmad_jax as dm
from deepmad_jax.report import canvas, network, pictures

# %% [markdown]
# ## The budget of ResNet-18
#
# `rho` is the third budget: depth over average width. A network far above it is hard to train, one
# far below it wastes its parameters on width; the paper takes 0.3 for networks of this kind.

# %%
design = dm.design(macs=1.82e9, params=11.69e6, rho=0.3)
print(design)

# %% [markdown]
# The price in the second table is what 1 % more of a budget would buy. Here is the network to scale,
# a bar for each block and a box for each stage's output, and where its entropy comes from.


# %%
def show(architecture, numbers):
    for figure in (network.draw(architecture), pictures.entropy_figure(architecture, numbers)):
        display(Image(canvas.to_png(figure)))


with canvas.style("notebook"):
    show(design.architecture, design.numbers)

# %% [markdown]
# ## What each constraint does
#
# One constraint at a time is moved, the others stay. Watch three things: which stages get wide,
# which get deep, and the entropy.

# %%
budget = {"macs": 1.82e9, "params": 11.69e6, "rho": 0.3}
changes = {
    "as above": {},
    "half of the MACs": {"macs": 0.91e9},
    "half of the params": {"params": 5.845e6},
    "rho at most 0.1": {"rho": 0.1},
    "rho at most 0.7": {"rho": 0.7},
    "all levels weigh 1": {"alpha": (1, 1, 1, 1, 1)},
    "no depth penalty": {"beta": 0},
}
designs = {name: dm.design(**{**budget, **change}) for name, change in changes.items()}

for name, one in designs.items():
    n = one.numbers
    depths = [stage.depth for stage in one.architecture.stages]
    widths = [stage.width for stage in one.architecture.stages]
    print(
        f"{name:20} {n['params'] / 1e6:6.2f} M {n['macs'] / 1e9:5.2f} G  rho {n['rho']:.3f}  "
        f"entropy {n['entropy']:8,.0f}  depths {depths}  widths {widths}"
    )

# %%
figure, axes = plt.subplots(2, len(designs), figsize=(15, 4), sharey="row")
for column, (name, one) in zip(axes.T, designs.items(), strict=True):
    stages = one.architecture.stages
    places = range(1, len(stages) + 1)
    column[0].bar(places, [stage.width for stage in stages], color=canvas.LEVEL_COLORS[1])
    column[1].bar(places, [stage.depth for stage in stages], color=canvas.LEVEL_COLORS[5])
    column[0].set_title(name, fontsize=10)
    column[1].set_xlabel("stage")
    for axis in column:
        axis.set_xticks(places)
axes[0, 0].set_ylabel("width, channels")
axes[1, 0].set_ylabel("depth, blocks")
figure.tight_layout()
plt.show()

# %% [markdown]
# - **MACs** are spent where maps are large, so fewer of them thin the early stages first.
# - **Params** are spent where channels are many: fewer of them narrow the last stages.
# - **rho** trades depth for width: a small one gives few, wide layers.
# - **The level weights** say which resolution the entropy is wanted at. With all of them at 1 the
#   last level no longer outweighs the others.
# - **The depth penalty** keeps stages equally deep. Without it depth gathers in a few stages.
#
# A limit that no network meets is refused with the least that can be reached:

# %%
from deepmad_jax.errors import InfeasibleProblem

try:
    dm.design(macs=1e7, params=1e4)
except InfeasibleProblem as error:
    print(error)

# %% [markdown]
# ## Your own budget
#
# With `ipywidgets` the sliders below redesign as they are let go. Without it, change the numbers and
# run the cell again.


# %%
def redesign(mega_macs=600, mega_params=5.0, rho=0.3, resolution=224):
    try:
        one = dm.design(
            macs=mega_macs * 1e6, params=mega_params * 1e6, rho=rho, resolution=resolution
        )
    except InfeasibleProblem as error:
        print(error)
        return
    print(one)
    with canvas.style("notebook"):
        display(Image(canvas.to_png(network.draw(one.architecture))))


try:
    import ipywidgets
except ImportError:
    redesign()
else:
    slow = {"continuous_update": False}
    ipywidgets.interact(
        redesign,
        mega_macs=ipywidgets.IntSlider(value=600, min=50, max=4000, step=50, **slow),
        mega_params=ipywidgets.FloatSlider(value=5.0, min=0.5, max=40.0, step=0.5, **slow),
        rho=ipywidgets.FloatSlider(value=0.3, min=0.05, max=1.0, step=0.05, **slow),
        resolution=ipywidgets.IntSlider(value=224, min=96, max=288, step=32, **slow),
    )

# %% [markdown]
# Next: [the theory behind these numbers](02_entropy_and_rho.ipynb).
