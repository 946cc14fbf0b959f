# %% [markdown]
# # Train, evaluate and export a small network
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/REPOSITORY_OWNER/deepmad_jax/blob/main/notebooks/04_train_and_export.ipynb)
#
# A network for 50,000 parameters and 5 million MACs learns the handwritten digits that come with
# scikit-learn, in about a minute on a CPU, and leaves as ONNX.

# %%
# Installs the package where it is missing, as in Colab.
import importlib.util
import subprocess
import sys

REPOSITORY = "https://github.com/REPOSITORY_OWNER/deepmad_jax"
if importlib.util.find_spec("deepmad_jax") is None:
    package = f"deepmad_jax[train,report,export] @ git+{REPOSITORY}"
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", package], check=True)

# %%
import tempfile
from pathlib import Path

import jax
import numpy as np
import onnxruntime
from IPython.display import Image, display
from matplotlib import pyplot as plt

import deepmad_jax as dm
from deepmad_jax.config import default_config, to_config
from deepmad_jax.data import open_dataset
from deepmad_jax.main import run
from deepmad_jax.recipes import CIFAR_SPACE, set_fields

# %% [markdown]
# ## The experiment as a config
#
# A config starts from the defaults; a misspelt field fails at once. On the command line the same
# experiment is `python -m deepmad_jax.main --config configs/digits.py`.

# %%
config = default_config()
config.name = "digits"
set_fields(config, CIFAR_SPACE)

config.design.resolution, config.design.in_channels, config.design.classes = 16, 1, 10
config.design.stem_width = (4, 32)
config.design.macs, config.design.params, config.design.rho = 5e6, 0.05e6, 0.2

config.data.source = "digits"
config.data.train_augment, config.data.flip = "shift", 0.0

config.train.epochs, config.train.warmup_epochs, config.train.cooldown_epochs = 12, 2, 0
config.train.batch_size, config.train.eval_batch_size = 64, 360
config.train.learning_rate, config.train.weight_decay = 0.1, 5e-4
config.train.batch_norm_momentum = 0.1
config.train.dtype = "float32"
config.train.eval_every_epochs = config.train.checkpoint_every_epochs = 4

workdir = Path(tempfile.mkdtemp()) / "digits"

# %% [markdown]
# ## Design and train
#
# Each job leaves its files in the workdir. Run the cell again, or after an interrupt, and it goes on
# from the last checkpoint.

# %%
run(to_config(config), workdir)

# %%
print(*sorted(path.name for path in workdir.iterdir()), sep="\n")
display(Image(filename=workdir / "training.png"))

# %% [markdown]
# ## What it sees
#
# `dm.load` on the folder of a run gives the trained network.

# %%
net = dm.load(workdir)
digits = open_dataset(to_config(config).data, resolution_px=16, channels=1, classes=10)
samples = [digits.evaluation[i] for i in range(len(digits.evaluation))]
pixels = np.stack([sample["image"] for sample in samples]) / 255.0
images = ((pixels - digits.mean) / digits.std).astype(np.float32)
labels = np.array([sample["label"] for sample in samples])

predicted = np.asarray(jax.jit(net)(images)).argmax(-1)
print(f"{(predicted == labels).mean():.2%} of {len(labels)} test images")

# %%
wrong = np.flatnonzero(predicted != labels)
shown = np.concatenate([wrong, np.flatnonzero(predicted == labels)])[:10]
figure, axes = plt.subplots(1, len(shown), figsize=(12, 1.8))
for axis, i in zip(axes, shown, strict=True):
    axis.imshow(pixels[i, ..., 0], cmap="gray_r")
    said = f"{predicted[i]}, not {labels[i]}" if i in wrong else f"{predicted[i]}"
    axis.set_title(said, color="tab:red" if i in wrong else "black", fontsize=10)
    axis.axis("off")
figure.suptitle("predictions; red where wrong", y=1.15)
plt.show()

# %% [markdown]
# ## Export
#
# With BatchNorm folded into the convolutions. ONNX takes channels first.

# %%
exports = workdir / "exports"
files = dm.export(net, exports, ["onnx", "safetensors", "tinynas"], fold=True)
for path in files:
    print(f"{path.name:24} {path.stat().st_size:>9,} bytes")

# %%
session = onnxruntime.InferenceSession(exports / "digits.onnx")
logits = session.run(["logits"], {"images": images.transpose(0, 3, 1, 2)})[0]
print("greatest difference of a logit:", np.abs(logits - np.asarray(jax.jit(net)(images))).max())
assert (logits.argmax(-1) == predicted).all()

# %% [markdown]
# Next: [a designed backbone in a model of your own](05_backbone_in_your_model.ipynb).
