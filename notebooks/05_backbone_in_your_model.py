# %% [markdown]
# # A designed backbone in your own model
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/REPOSITORY_OWNER/deepmad_jax/blob/main/notebooks/05_backbone_in_your_model.ipynb)
#
# A designed network is a Flax NNX module that hands out the map at the end of each level. Here they
# feed a small top-down head that finds the centre of a disc among clutter.

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
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from matplotlib import pyplot as plt

import deepmad_jax as dm

# %% [markdown]
# ## The backbone
#
# Designed for 48-pixel images. More weight on the middle levels would ask for entropy there; `alpha`
# has one entry for each level.

# %%
design = dm.design(
    macs=8e6, params=60e3, rho=0.1, block="basic", resolution=48, in_channels=1, alpha=(1, 2, 4)
)
backbone = design.build(seed=0).without_classifier()
for info in backbone.feature_info:
    print(f"{info.name}: every {info.stride} pixels, {info.channels} channels")

# %% [markdown]
# ## The model
#
# The finest map is as large as the image; each coarser one is brought to its size and added. What
# comes out is one score a pixel.


# %%
class Locator(nnx.Module):
    """Images (batch, 48, 48, 1) to a score for each pixel, (batch, 48, 48)."""

    def __init__(self, backbone, channels, rngs):
        self.backbone = backbone
        self.lateral = nnx.List(
            [nnx.Conv(info.channels, channels, (1, 1), rngs=rngs) for info in backbone.feature_info]
        )
        self.head = nnx.Conv(channels, 1, (3, 3), rngs=rngs)

    def __call__(self, images, train=False):
        maps = self.backbone.features(images, train)
        merged = 0.0
        for conv, level in zip(self.lateral, maps, strict=True):
            side = conv(level)
            merged += jax.image.resize(side, (*maps[0].shape[:3], side.shape[-1]), "linear")
        return self.head(jax.nn.relu(merged))[..., 0]


model = Locator(backbone, 24, nnx.Rngs(1))

# %% [markdown]
# ## Data: a bright disc, and squares that are none of our business


# %%
def draw(rng, count, size=48):
    rows, columns = np.mgrid[:size, :size]
    images = rng.normal(0.0, 0.3, (count, size, size)).astype(np.float32)
    centres = rng.integers(6, size - 6, (count, 2))
    for image, (row, column) in zip(images, centres, strict=True):
        for top, left in rng.integers(0, size - 8, (4, 2)):
            image[top : top + 8, left : left + 8] += 0.8
        image[(rows - row) ** 2 + (columns - column) ** 2 <= 20] += 1.2
    return images[..., None], centres


rng = np.random.default_rng(0)
images, centres = draw(rng, 4)
figure, axes = plt.subplots(1, 4, figsize=(10, 2.6))
for axis, image, centre in zip(axes, images, centres, strict=True):
    axis.imshow(image[..., 0], cmap="gray")
    axis.plot(*centre[::-1], "+", color="tab:red")
    axis.axis("off")
plt.show()

# %% [markdown]
# ## Training
#
# Plain functions over the state: parameters are differentiated, BatchNorm's statistics move along.

# %%
graphdef, params, statistics = nnx.split(model, nnx.Param, nnx.BatchStat)
optimizer = optax.adam(3e-3)
state = optimizer.init(params)


def loss_fn(params, statistics, images, targets):
    net = nnx.merge(graphdef, params, statistics, copy=True)
    scores = net(images, train=True).reshape(len(images), -1)
    loss = optax.softmax_cross_entropy_with_integer_labels(scores, targets).mean()
    return loss, nnx.state(net, nnx.BatchStat)


@jax.jit
def step(params, statistics, state, images, targets):
    gradient_fn = jax.value_and_grad(loss_fn, has_aux=True)
    (loss, statistics), gradients = gradient_fn(params, statistics, images, targets)
    updates, state = optimizer.update(gradients, state, params)
    return optax.apply_updates(params, updates), statistics, state, loss


losses = []
for _ in range(90):
    images, centres = draw(rng, 16)
    targets = jnp.asarray(centres[:, 0] * images.shape[2] + centres[:, 1])
    params, statistics, state, loss = step(params, statistics, state, images, targets)
    losses.append(float(loss))
print(f"loss {losses[0]:.2f} at first, {np.mean(losses[-10:]):.2f} at the end")

# %% [markdown]
# ## How far off it is

# %%
trained = nnx.merge(graphdef, params, statistics)
images, centres = draw(rng, 64)
scores = np.asarray(jax.jit(trained)(images))
flat = scores.reshape(len(scores), -1).argmax(-1)
found = np.stack(np.divmod(flat, scores.shape[2]), -1)
distance = np.hypot(*(found - centres).T)
print(f"median distance {np.median(distance):.1f} pixels; {(distance <= 2).mean():.0%} within 2")

# %%
figure, axes = plt.subplots(2, 4, figsize=(10, 5))
for column, image, score, place in zip(axes.T, images, scores, found, strict=False):
    column[0].imshow(image[..., 0], cmap="gray")
    column[0].plot(*place[::-1], "+", color="tab:red")
    column[1].imshow(score, cmap="magma")
    for axis in column:
        axis.axis("off")
figure.tight_layout()
plt.show()

# %% [markdown]
# ## From a trained backbone
#
# To start from weights that exist, load them and freeze BatchNorm: its scale and bias then get no
# gradient, and small batches do no harm.
#
# ```python
# backbone = dm.load("runs/mine").without_classifier().with_frozen_batch_norm()
# ```
