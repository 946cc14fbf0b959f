"""Images that are not square, from the layer table to the network and the page."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

from deepmad_jax import report
from deepmad_jax.arch import Architecture, cost, layer_table
from deepmad_jax.arch.backbone_cost import backbone_macs
from deepmad_jax.arch.rows import Oblong, pixels_of
from deepmad_jax.design.certificate.certify import certify
from deepmad_jax.design.designer import design_network
from deepmad_jax.design.program.problem import Problem
from deepmad_jax.errors import InvalidArchitecture, InvalidConfig
from deepmad_jax.nets import Network
from tests.config_files import config_of
from tests.nets.jaxpr_walk import count_macs

CONFIG = Path(__file__).parents[2] / "configs" / "further" / "detection_r18.py"
SMALL = {
    "block": "bottleneck",
    "strides": (2, 2),
    "kernels": (3,),
    "stem_width": (8, 16),
    "max_width": (64,),
    "max_depth": (4,),
    "resolution": 45,
    "resolution_w": 30,
    "classes": 5,
    "params": 12e3,
    "macs": 3e6,
}


@pytest.fixture(scope="module")
def small():
    return design_network(Problem(**SMALL))


def test_a_square_has_a_side_and_an_oblong_is_divided_as_a_side_is():
    assert pixels_of(224, 224) == 224
    assert -(-pixels_of(45, 30) // 2) == Oblong(23, 15)
    assert Oblong(23, 15) ** 2 == 345


def test_a_design_has_the_macs_of_the_built_network_on_its_images(small):
    arch = small.architecture
    assert arch.size_px == (45, 30)
    net = nnx.eval_shape(lambda: Network(arch, rngs=nnx.Rngs(0)))
    graph, state = nnx.split(net)
    images = jax.ShapeDtypeStruct((1, 45, 30, 3), "float32")
    jaxpr = jax.make_jaxpr(lambda s, x: nnx.merge(graph, s)(x))(state, images)
    assert count_macs(jaxpr.jaxpr) == cost.macs(layer_table(arch)) == small.numbers.macs


def test_its_entropy_takes_height_times_width(small):
    arch, entropies = small.architecture, small.numbers.entropy_per_level
    # Of the first level, the stem's: 23 x 15 pixels, three input channels under nine taps.
    assert entropies[-3] == pytest.approx(np.log(23 * 15 * arch.stem.width) * np.log(27.0))


def test_images_turned_by_a_quarter_give_the_same_design(small):
    turned = design_network(Problem(**(SMALL | {"resolution": 30, "resolution_w": 45})))
    assert turned.architecture.stages == small.architecture.stages
    assert turned.numbers.objective == pytest.approx(small.numbers.objective, rel=1e-12)


def test_its_design_is_bounded(small):
    proof = certify(Problem(**SMALL), float(small.numbers.objective), seconds=np.inf, nodes=200)
    assert proof.upper_bound >= small.numbers.objective


def test_json_and_tables_hold_both_sides(small):
    arch = small.architecture
    assert Architecture.from_json(arch.to_json()) == arch
    assert arch.to_dict()["resolution_w"] == 30
    assert "resolution_w" not in dataclasses.replace(arch, resolution_w=0).to_dict()
    table = report.design_table(arch, small.to_dict())
    assert "23x15" in table


def test_the_detection_config_designs_at_its_size_within_the_budget():
    problem = config_of(CONFIG, "").design
    assert problem.level_weights == (0.0, 0.0, 1.0, 1.0, 6.0)
    design = design_network(problem)
    arch = design.architecture
    assert arch.size_px == (800, 1280)
    assert design.numbers.params <= 11.69e6
    # The classifier apart, what a detector's backbone does on such images.
    classifier = arch.stages[-1].width * arch.classes
    macs = sum(backbone_macs(arch, 800, 1280).values())
    assert macs == design.numbers.macs - classifier <= problem.macs


@pytest.mark.parametrize("fields", [{"positions": True}, {"latency_table": "times.csv"}])
def test_what_is_of_square_maps_is_refused(fields):
    with pytest.raises(InvalidConfig, match=r"45 x 30 pixels.*square maps"):
        Problem(**(SMALL | fields))


def test_an_architecture_with_positions_is_square(small):
    with pytest.raises(InvalidArchitecture, match="45 x 30 pixels"):
        dataclasses.replace(small.architecture, positions=True)
