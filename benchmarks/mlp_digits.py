"""Perceptrons designed over a range of rho and trained on scikit-learn's digits.

    python benchmarks/mlp_digits.py

Designs of at most 20,000 params for 64 pixels and ten classes, with one stage and with three; Adam,
40 epochs, three seeds each. On two shared CPU cores that took 217 s and printed (2026-11-23):

    stages   rho0    rho  depth  widths                  params  entropy  accuracy, %
         1   0.05  0.016      1  264x1                   19,810    1,098   96.9 (96.4-97.2)
         1   0.10  0.087      5  56x5                    16,978    1,135   95.8 (95.3-96.4)
         1   0.20  0.140      7  48x7                    17,722    1,315   95.1 (93.9-95.8)
         1   0.50  0.479     16  32x16                   18,250    1,797   88.8 (86.7-90.6)
         1   1.00  0.510     17  32x17                   19,306    1,908   89.2 (86.7-92.5)
         1   2.00  1.210     30  24x30                   19,210    2,312   78.0 (70.8-84.7)
         3   0.05  0.049      3  112x1 32x1 208x1        19,850    2,567   96.7 (96.4-96.9)
         3   0.10  0.098      3  56x1 8x1 832x1          19,914    8,539   95.9 (95.0-96.7)
         3   0.20  0.179      5  32x3 8x1 816x1          19,970   13,575   95.1 (94.7-95.3)
         3   0.50  0.463     11  24x9 8x1 704x1          19,946   24,528   91.9 (91.4-92.5)
         3   1.00  0.958     16  16x14 8x1 800x1         19,922   36,044   80.3 (79.2-81.4)
         3   2.00  1.981     31  16x27 8x3 608x1         19,954   51,836   67.5 (61.1-72.8)

Without normalisation and shortcuts, entropy bought with rho is no help here: accuracy falls as rho0
grows, by a point up to 0.1 and by 19 and 29 points up to 2. At equal rho0 three stages have 2 to 22
times the entropy of one (a wide last layer behind a narrow one, which the program rewards) for -11
to +3 points of accuracy.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from deepmad_jax.design.perceptron.design import MlpDesign, MlpProblem, design_mlp
from deepmad_jax.nets.mlp import Mlp

PARAMS = 20_000
RHOS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
STAGES = (1, 3)
SEEDS = (0, 1, 2)
EPOCHS, BATCH_SIZE, LEARNING_RATE = 40, 128, 2e-3


def main() -> None:
    """Prints one line for each number of stages and each rho."""
    data = digits()
    print("stages   rho0    rho  depth  widths                  params  entropy  accuracy, %")
    for num_stages in STAGES:
        for rho in RHOS:
            problem = MlpProblem(num_stages=num_stages, params=PARAMS, rho=rho)
            design = design_mlp(problem)
            accuracies = [100 * train(design, data, seed) for seed in SEEDS]
            print(
                f"{num_stages:6}  {rho:5.2f}  {design.rho:5.3f}  {design.architecture.depth:5}  "
                f"{_widths(design):22}  {design.params:6,}  {design.entropy_nats:7,.0f}  "
                f"{np.mean(accuracies):5.1f} ({min(accuracies):.1f}-{max(accuracies):.1f})"
            )


def digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Images of 64 pixels in [0, 1] and labels: 1,437 to train on, then 360 to test."""
    images, labels = load_digits(return_X_y=True)
    split = train_test_split(images / 16, labels, test_size=360, stratify=labels, random_state=0)
    train_images, test_images, train_labels, test_labels = split
    return (
        train_images.astype(np.float32),
        train_labels,
        test_images.astype(np.float32),
        test_labels,
    )


def train(design: MlpDesign, data: tuple[np.ndarray, ...], seed: int) -> float:
    """Test accuracy after `EPOCHS` of Adam with a cosine schedule."""
    images, labels, test_images, test_labels = (jnp.asarray(array) for array in data)
    steps_per_epoch = len(images) // BATCH_SIZE
    optimizer = optax.adam(optax.cosine_decay_schedule(LEARNING_RATE, EPOCHS * steps_per_epoch))
    graphdef, params = nnx.split(Mlp(design.architecture, rngs=nnx.Rngs(seed)))

    def loss_of(params, batch):
        logits = nnx.merge(graphdef, params)(images[batch])
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels[batch]).mean()

    @jax.jit
    def run(params, key):
        def epoch(carry, key):
            order = jax.random.permutation(key, len(images))
            batches = order[: steps_per_epoch * BATCH_SIZE].reshape(steps_per_epoch, BATCH_SIZE)
            return jax.lax.scan(step, carry, batches)

        def step(carry, batch):
            params, state = carry
            updates, state = optimizer.update(jax.grad(loss_of)(params, batch), state)
            return (optax.apply_updates(params, updates), state), None

        keys = jax.random.split(key, EPOCHS)
        (params, _), _ = jax.lax.scan(epoch, (params, optimizer.init(params)), keys)
        return (nnx.merge(graphdef, params)(test_images).argmax(-1) == test_labels).mean()

    return float(run(params, jax.random.key(seed)))


def _widths(design: MlpDesign) -> str:
    widths = design.architecture.widths
    runs = []
    for width in widths:
        if runs and runs[-1][0] == width:
            runs[-1][1] += 1
        else:
            runs.append([width, 1])
    return " ".join(f"{width}x{count}" for width, count in runs)


if __name__ == "__main__":
    began = time.perf_counter()
    main()
    print(f"{time.perf_counter() - began:.0f} s")
