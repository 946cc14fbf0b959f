"""Perceptrons, networks of images and networks of clips get entropy and rho by one road."""

import dataclasses

import numpy as np
import pytest

from deepmad_jax.arch import Architecture, Stage, Stem, layer_table
from deepmad_jax.arch.mlp import MlpArchitecture, mlp_table
from deepmad_jax.design.perceptron.program import numbers_of_mlp
from deepmad_jax.design.program.entropy import main_path
from deepmad_jax.design.program.levels import levels_of

IMAGES = Architecture("a", 1, 6, 3, Stem(5, 1, 1), (Stage("k1kx", 7, 4, 1, 2, 1),))
"""1x1 convs on one pixel: dense layers of widths 6, 5, 4, 7, 4 and 7 in all but the name."""

MLP = MlpArchitecture("a", 6, (5, 4, 7, 4, 7), 3)


def test_convs_of_one_pixel_are_the_dense_layers_of_a_perceptron():
    of_convs, of_dense = main_path(layer_table(IMAGES)), main_path(mlp_table(MLP))
    assert of_convs == pytest.approx(of_dense, rel=1e-15)
    (level,), numbers = levels_of(IMAGES), numbers_of_mlp(MLP)
    assert level["rho"] == pytest.approx(float(numbers.rho), rel=1e-15)
    # Of one sum of logs, a map takes log(r^2 c) and a vector w_{L+1}.
    shares = level["entropy"] / np.log(7), numbers.entropy / 7
    assert shares[0] == pytest.approx(shares[1], rel=1e-15)


def test_frames_enter_as_pixels_do():
    """t frames of r x r pixels and kernels of k_t have what as many pixels under a kernel have."""
    clips = dataclasses.replace(
        IMAGES, resolution=4, frames=9, stages=(Stage("k1kx", 7, 4, 3, 2, 1, kernel_t=3),)
    )
    (level,) = levels_of(clips)
    logs = np.log([6, 5, 4 * 27, 7, 4 * 27]).sum()
    assert level["entropy"] == pytest.approx(np.log(9 * 4**2 * 7) * logs, rel=1e-12)
    assert level["rho"] == pytest.approx(5 / np.exp(logs / 5), rel=1e-12)
