# %% [markdown]
# # Entropy and rho of known networks
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/REPOSITORY_OWNER/deepmad_jax/blob/main/notebooks/02_entropy_and_rho.ipynb)
#
# What is maximised, checked on a random network, and counted for published ones beside the numbers
# that the paper (arXiv 2303.02165) prints.

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
import numpy as np
from matplotlib import pyplot as plt

import deepmad_jax as dm
from deepmad_jax.arch.zoo import ZOO
from deepmad_jax.design.program.levels import levels_of, numbers_of
from deepmad_jax.report import compare_table

# %% [markdown]
# ## Where the logarithms come from
#
# Take a linear network whose weights and inputs are all standard normal. Each layer multiplies the
# variance of what passes by its number of inputs $w_i$, so an output has variance
# $\prod_i w_i$. Among all distributions of that variance the normal one has the greatest entropy,
# $\frac12 \log \left(2 \pi e \prod_i w_i\right)$: up to constants half of $\sum_i \log w_i$ for each
# output. With $w_{L+1}$ outputs the paper scores $H = w_{L+1} \sum_i \log w_i$.

# %%
rng = np.random.default_rng(0)
widths = (16, 32, 64, 32)
logs = []
for _ in range(4000):
    x = rng.standard_normal(widths[0])
    for fan_in, fan_out in zip(widths, (*widths[1:], 8), strict=True):
        x = rng.standard_normal((fan_out, fan_in)) @ x
    logs.append(np.mean(x**2))
print(f"log of the variance, drawn:  {np.log(np.mean(logs)):.2f}")
print(f"sum of log widths:           {np.sum(np.log(widths)):.2f}")

# %% [markdown]
# For a convolution $w = c_{in} k^2 / g$, and the outputs are the $r^2 c$ numbers of a map. Counted at
# the end of each level (a run of layers of one resolution), with a logarithm on the number of outputs:
#
# $$H_m = \log(r_m^2 c_m) \sum_{i \le m} \log w_i .$$
#
# ## Depth over width
#
# Entropy alone grows without end as a network gets deeper and narrower; signals then die or explode.
# The paper bounds $\rho = N / \bar w$, the number of layers over their geometric mean width. Its
# printed values for five baselines, and ours:

# %%
printed = {
    "resnet18": 0.01,
    "resnet34": 0.02,
    "resnet50": 0.09,
    "mobilenet_v2": 0.9,
    "efficientnet_b0": 0.6,
}
for name, paper in printed.items():
    print(f"{name:16} paper {paper:<5} here {numbers_of(dm.zoo(name))['rho']:.4f}")

# %% [markdown]
# All agree to the digits printed. That fixes what counts as a layer: stem, every convolution of the
# main path, the final 1x1; not shortcuts, squeezes or the classifier.
#
# ## The published networks side by side

# %%
found = {name: dm.zoo(name) for name in ZOO}
numbers = {name: numbers_of(architecture) for name, architecture in found.items()}
print(compare_table(found, numbers))

# %% [markdown]
# Level by level for one of them:

# %%
for level in levels_of(dm.zoo("deepmad_r18")):
    print({name: round(float(value), 4) for name, value in level.items()})

# %% [markdown]
# ## Entropy against published accuracy
#
# Each point is a network as its source trained it, so recipes differ from family to family. Within
# each family more entropy goes with more accuracy; between families it does not compare. Accuracies
# are the sources' own.

# %%
families = {
    "DeepMAD, bottleneck": ["deepmad_r18", "deepmad_r34", "deepmad_r50"],
    "DeepMAD, squeeze": ["deepmad_29m", "deepmad_50m", "deepmad_89m"],
    "ResNet": ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"],
    "ConvNeXt": ["convnext_t", "convnext_s", "convnext_b"],
    "mobile": ["mobilenet_v2", "efficientnet_b0"],
}
figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.5), sharey=True)
for family, names in families.items():
    top1 = [ZOO[name].top1 for name in names]
    left.plot([numbers[name]["entropy_per_level"][-1] for name in names], top1, "o-", label=family)
    right.plot([numbers[name]["rho"] for name in names], top1, "o-", label=family)
left.set_xlabel("entropy of the last level, nats")
left.set_xscale("log")
left.set_ylabel("published top-1, %")
right.set_xlabel("rho")
right.set_xscale("log")
right.legend()
figure.tight_layout()
plt.show()

# %% [markdown]
# ## More rho, more entropy, until it no longer trains
#
# The paper's Table 1 trains DeepMAD-R18 at four values of rho. The entropy that can be had keeps
# growing; the accuracy does not.

# %%
paper_top1 = {0.1: 76.9, 0.3: 77.7, 0.5: 77.5, 0.7: 75.7}
designs = {rho: dm.design(macs=1.82e9, params=11.69e6, rho=rho) for rho in paper_top1}

figure, entropy_axes = plt.subplots(figsize=(6, 3.5))
entropy_axes.plot(designs.keys(), [one.numbers["entropy"] for one in designs.values()], "o-")
entropy_axes.set_xlabel("rho")
entropy_axes.set_ylabel("entropy, nats (designed here)", color="tab:blue")
accuracy_axes = entropy_axes.twinx()
accuracy_axes.plot(paper_top1.keys(), paper_top1.values(), "s--", color="tab:orange")
accuracy_axes.set_ylabel("top-1, % (paper)", color="tab:orange")
figure.tight_layout()
plt.show()

# %% [markdown]
# Next: [many budgets at once](03_sweep_and_frontier.ipynb).
