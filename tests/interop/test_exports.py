"""Exports run in their own runtimes against the network's logits."""

import dataclasses
import functools
import subprocess
import sys

import jax
import numpy as np
import pytest
from flax import nnx
from references import (
    BASELINES,
    CONVNEXT,
    EVERY_KIND,
    NAMES,
    SEEDS,
    abstract,
    baseline_network,
    channels_first,
    random_network,
    recorded,
)

import deepmad_jax as dm
from deepmad_jax.arch import Architecture, Layer, layer_table, tinynas
from deepmad_jax.arch.zoo import ZOO
from deepmad_jax.config import EXPORTS as CONFIG_EXPORTS
from deepmad_jax.errors import UserError
from deepmad_jax.interop import EXPORTS, export, from_network, load_into, read_weights
from deepmad_jax.interop.onnx_ops import ACTIVATIONS, OPS
from deepmad_jax.interop.tinynas_weights import LEAVES
from deepmad_jax.nets.block import MODULES

TOLERANCE = 1e-4  # logits are of size 1; seen: 5e-7


@functools.cache
def loaded(name):
    arch, weights, _ = recorded(name)
    net = abstract(arch, scan=False)
    load_into(net, weights)
    return net


@pytest.fixture
def run_onnx(tmp_path):
    """Exports a network; returns its function in ONNX Runtime and the kinds of its ops."""
    onnx = pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")

    def run(net, fold):
        (path,) = export(net, tmp_path, ["onnx"], fold=fold)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        kinds = {node.op_type for node in onnx.load(path).graph.node}
        return lambda images: session.run(["logits"], {"images": images})[0], kinds

    return run


@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_onnx_runtime_gives_pytorchs_logits_at_64_and_63_pixels(name, fold, run_onnx):
    _, _, checks = recorded(name)
    run, kinds = run_onnx(loaded(name), fold)
    assert ("BatchNormalization" in kinds) != fold
    for images, logits in (("__input__", "__logits__"), ("__input63__", "__logits63__")):
        np.testing.assert_allclose(run(checks[images]), checks[logits], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_onnx_runtime_gives_our_logits_where_every_map_is_odd_and_for_any_batch(
    seed, fold, run_onnx
):
    net, images, logits = random_network(seed)
    run, _ = run_onnx(net, fold)
    np.testing.assert_allclose(run(channels_first(images)), logits, rtol=0, atol=TOLERANCE)
    one = run(channels_first(images[1:]))
    np.testing.assert_allclose(one, logits[1:], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize("name", BASELINES)
def test_onnx_runtime_gives_our_logits_for_baselines_at_even_and_odd_sizes(name, fold, run_onnx):
    net, images, logits = baseline_network(name)
    run, kinds = run_onnx(net, fold)
    has_norm = any(row.layer.kind == "norm" for row in layer_table(net.arch))
    assert has_norm == (name != CONVNEXT)
    assert ("BatchNormalization" in kinds) == (has_norm and not fold)
    for some, expected in zip(images, logits, strict=True):
        assert np.abs(expected).max() > 0.1
        found = run(channels_first(some))
        np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", ZOO)
def test_every_layer_of_every_published_network_has_its_rules(name):
    layers = [row.layer for row in layer_table(dm.zoo(name))]
    kinds = {layer.kind for layer in layers}
    assert kinds <= OPS.keys()
    assert kinds & MODULES.keys() <= LEAVES.keys()
    assert {layer.function for layer in layers if layer.kind == "act"} <= ACTIVATIONS.keys()


def test_an_unknown_kind_of_layer_is_refused_by_name(tmp_path):
    pytest.importorskip("onnx")
    net = loaded("k1kx_a").without_classifier()
    net.head.plan += ((None, Layer("whirl", "head", 4, 4, 1, 1)),)
    with pytest.raises(UserError, match=r"head has a layer of kind 'whirl'.*it knows conv"):
        export(net, tmp_path, ["onnx"])
    assert not list(tmp_path.iterdir())


def test_a_network_without_classifier_exports_its_pooled_features(run_onnx):
    net, images, logits = random_network(0)
    run, _ = run_onnx(net.without_classifier(), False)
    pooled = run(channels_first(images))
    assert pooled.shape == (2, net.feature_info[-1].channels)
    weights = from_network(net)
    expected = pooled @ weights["fc_linear.weight"].T + weights["fc_linear.bias"]
    np.testing.assert_allclose(expected, logits, rtol=0, atol=TOLERANCE)


RUN_STABLEHLO = """
import sys, jax, numpy, pathlib
images, *files = sys.argv[1:]
for file in files:
    function = jax.export.deserialize(bytearray(pathlib.Path(file).read_bytes()))
    assert function.platforms == ("cpu", "cuda", "tpu"), function.platforms
    numpy.save(file + ".npy", function.call(numpy.load(images)))
assert not any(name.startswith(("deepmad_jax", "flax")) for name in sys.modules)
"""


def test_stablehlo_runs_in_a_process_that_has_only_jax(tmp_path):
    net, images, logits = random_network(0)
    (plain,) = export(net, tmp_path, ["stablehlo"])
    folded_dir = tmp_path / "folded"
    folded_dir.mkdir()
    (folded,) = export(net, folded_dir, ["stablehlo"], fold=True)
    np.save(tmp_path / "images.npy", images)
    # From elsewhere and isolated (-I), so that this package cannot be found by accident.
    command = [sys.executable, "-I", "-c", RUN_STABLEHLO, tmp_path / "images.npy", plain, folded]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for file in (plain, folded):
        found = np.load(f"{file}.npy")
        np.testing.assert_allclose(found, logits, rtol=0, atol=TOLERANCE)
    assert folded.stat().st_size < plain.stat().st_size


def test_stablehlo_gives_our_logits_for_baselines(tmp_path):
    net, images, logits = baseline_network(EVERY_KIND)
    (path,) = export(net, tmp_path, ["stablehlo"], fold=True)
    found = jax.export.deserialize(bytearray(path.read_bytes())).call(images[0])
    np.testing.assert_allclose(found, logits[0], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("fold", [False, True])
def test_litert_gives_our_logits(fold, tmp_path):
    pytest.importorskip("litert_converter")
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")
    baseline, (even, _), (baseline_logits, _) = baseline_network(EVERY_KIND)
    for net, images, logits in (random_network(0), (baseline, even, baseline_logits)):
        (path,) = export(net, tmp_path, ["litert"], fold=fold)
        run = interpreter.Interpreter(str(path)).get_signature_runner()
        for image, expected in zip(images, logits, strict=True):
            found = run(images=image[None])["logits"]
            np.testing.assert_allclose(found, expected[None], rtol=0, atol=TOLERANCE)


def test_weights_and_structure_files_give_the_network_back(tmp_path):
    pytest.importorskip("safetensors")
    net = loaded("mbv2se_a")
    weights, structure = export(net, tmp_path, ["safetensors", "tinynas"])
    arch = Architecture.load(tmp_path / "architecture.json")
    assert arch == net.arch
    assert tinynas.load(structure, name=arch.name, resolution=64, classes=10) == arch
    again = abstract(arch)
    load_into(again, read_weights(weights))
    for key, value in from_network(again).items():
        np.testing.assert_array_equal(value, recorded("mbv2se_a")[1][key])


@pytest.mark.parametrize("name", BASELINES)
def test_safetensors_give_baselines_back(name, tmp_path):
    pytest.importorskip("safetensors")
    net, _, _ = baseline_network(name)
    (path,) = dm.export(net, tmp_path, ["safetensors"])
    assert Architecture.load(tmp_path / "architecture.json") == net.arch
    again = dm.load(path)
    assert again.arch == net.arch
    states = [nnx.to_flat_state(nnx.state(one)) for one in (again, net)]
    for (path, found), (expected_path, expected) in zip(*states, strict=True):
        assert path == expected_path
        np.testing.assert_array_equal(found[...], expected[...])


def test_a_baseline_has_no_tinynas_structure(tmp_path):
    with pytest.raises(UserError, match=r"released TinyNAS code does not have"):
        export(baseline_network(EVERY_KIND)[0], tmp_path, ["tinynas"])
    assert not list(tmp_path.iterdir())


def test_a_name_with_a_path_in_it_stays_in_the_folder(tmp_path):
    net = abstract(dataclasses.replace(recorded("k1kx_a")[0], name="../a b/c.d"), scan=False)
    load_into(net, recorded("k1kx_a")[1])
    assert export(net, tmp_path, ["npz"]) == [tmp_path / "_a_b_c_d.npz"]


def test_an_unknown_format_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(UserError, match="'onx'; did you mean 'onnx'"):
        export(loaded("k1kx_a"), tmp_path, ["npz", "onx"])
    assert not list(tmp_path.iterdir())


def test_the_config_knows_the_formats_there_are():
    assert tuple(EXPORTS) == CONFIG_EXPORTS
