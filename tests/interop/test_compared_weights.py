"""The authors' and timm's keys of the networks that the paper compares with, in and out."""

import dataclasses

import numpy as np
import pytest
from flax import nnx

from deepmad_jax import library
from deepmad_jax.errors import UserError
from deepmad_jax.interop import from_network, load_into, read_weights
from deepmad_jax.interop.authors_keys import BUFFERS
from deepmad_jax.interop.files import write_weights
from deepmad_jax.nets import Network
from tests.nets.compared_nets import ARCHITECTURES, loaded, recorded

torch = pytest.importorskip("torch")


def weights_of(name):
    """The recorded arrays that are weights, and nothing besides."""
    arrays = recorded(name)[1]
    return {key: a for key, a in arrays.items() if key.rpartition(".")[2] not in BUFFERS}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_weights_come_back_by_the_authors_keys_unchanged(name):
    back, weights = from_network(loaded(name)), weights_of(name)
    assert back.keys() == weights.keys()
    for key, array in weights.items():
        np.testing.assert_array_equal(back[key], array, err_msg=key)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_safetensors_file_alone_gives_the_network_back_to_the_bit(name, tmp_path):
    net, path = loaded(name), tmp_path / "net.safetensors"
    write_weights(path, from_network(net), net.arch)
    back = library.load(path)
    assert back.arch == net.arch
    ours, theirs = (nnx.to_flat_state(nnx.state(of, nnx.Variable)) for of in (net, back))
    theirs = dict(theirs)
    for place, leaf in ours:
        np.testing.assert_array_equal(theirs.pop(place)[...], leaf[...], err_msg=str(place))
    assert not theirs


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_a_checkpoint_as_the_authors_save_it_loads_from_a_file(ending, tmp_path):
    from safetensors.numpy import save_file

    name, path = "swin_w4_a", tmp_path / f"swin{ending}"
    arrays = recorded(name)[1]
    if ending == ".pth":
        tensors = {key: torch.from_numpy(array) for key, array in arrays.items()}
        torch.save({"model": tensors, "epoch": 299}, path)
    else:
        save_file(arrays, path)
    net = loaded(name)
    load_into(net, {key: 0 * array for key, array in read_weights(path).items()})
    load_into(net, read_weights(path))
    for key, array in from_network(net).items():
        np.testing.assert_array_equal(array, arrays[key])


def test_timms_keys_of_swin_are_the_same_network():
    weights = weights_of("swin_w4_a")
    of_timm = {}
    for key, array in weights.items():
        if ".downsample." in key:
            stage, rest = key.removeprefix("layers.").split(".", 1)
            key = f"layers.{int(stage) + 1}.{rest}"
        of_timm[key.replace("head.", "head.fc.")] = array
    net = loaded("swin_w4_a")
    load_into(net, {key: array + 1 for key, array in of_timm.items()})
    for key, array in from_network(net).items():
        np.testing.assert_array_equal(array, weights[key] + 1)


@pytest.mark.parametrize("name", ["pvt_a", "replknet_a"])
def test_a_missing_an_unknown_and_a_misshapen_key_are_all_named(name):
    weights = weights_of(name)
    missing, bent = next(iter(weights)), list(weights)[-2]
    wrong = {key: array for key, array in weights.items() if key != missing}
    wrong |= {"head.more": np.zeros(3), bent: np.zeros((1, 2, 3))}
    with pytest.raises(UserError) as error:
        load_into(loaded(name), wrong)
    lines = str(error.value).splitlines()[1:]
    assert [line.split()[:2] for line in lines] == [
        ["missing:", missing],
        ["unknown:", "head.more"],
        ["shape:", bent],
    ]


def test_another_number_of_classes_is_refused():
    net = loaded("deit_a")
    net.arch = dataclasses.replace(net.arch, name="ten")
    weights = weights_of("deit_a") | {"head.weight": np.zeros((7, 32)), "head.bias": np.zeros(7)}
    with pytest.raises(UserError, match="same number of classes"):
        load_into(net, weights)


def test_positions_of_another_resolution_are_resized_as_the_authors_do():
    arch = dataclasses.replace(ARCHITECTURES["deit_a"], resolution=96)
    net = nnx.eval_shape(lambda: Network(arch, rngs=nnx.Rngs(0)))
    load_into(net, weights_of("deit_a"))
    expected = recorded("deit_a")[2]["__pos_embed2__"]
    # float32 in another order; seen 2e-7.
    np.testing.assert_allclose(from_network(net)["pos_embed"], expected, rtol=0, atol=1e-6)


def test_biases_of_other_windows_are_resized_as_pytorch_does():
    weights = weights_of("swin_w4_a")
    first = ARCHITECTURES["swin_w4_a"]
    stages = tuple(dataclasses.replace(stage, kernel=5) for stage in first.stages)
    arch = dataclasses.replace(first, stages=stages, resolution=80)
    net = nnx.eval_shape(lambda: Network(arch, rngs=nnx.Rngs(0)))
    load_into(net, weights)
    key = "layers.1.blocks.1.attn.relative_position_bias_table"
    old = torch.tensor(weights[key]).T.reshape(1, 2, 7, 7)
    new = torch.nn.functional.interpolate(old, (9, 9), mode="bicubic", align_corners=False)
    expected = new.reshape(2, 81).T.numpy()
    np.testing.assert_allclose(from_network(net)[key], expected, rtol=0, atol=1e-5)


def test_a_table_of_another_kind_is_refused_not_resized():
    weights = weights_of("deit_a") | {"pos_embed": np.zeros((1, 18, 32), np.float32)}
    with pytest.raises(UserError, match=r"pos_embed is \(1, 18, 32\), needs \(1, 17, 32\)"):
        load_into(loaded("deit_a"), weights)
