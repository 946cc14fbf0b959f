import jax
import numpy as np
import pytest
from flax import nnx
from references import NAMES, abstract, recorded

from deepmad_jax.arch import Architecture, Stage, Stem
from deepmad_jax.errors import UserError
from deepmad_jax.interop import from_network, load_into
from deepmad_jax.nets import Network


@pytest.mark.parametrize("scan", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_logits_are_pytorchs_on_even_and_odd_maps(name, scan):
    arch, weights, checks = recorded(name)
    net = abstract(arch, scan)
    load_into(net, weights)
    even, odd = (checks[key].transpose(0, 2, 3, 1) for key in ("__input__", "__input63__"))
    logits, logits63 = jax.jit(lambda even, odd: (net(even), net(odd)))(even, odd)
    # Seen: 5e-7; float32 sums in another order. A slip in padding, order or epsilon gives 1e-3.
    np.testing.assert_allclose(logits, checks["__logits__"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(logits63, checks["__logits63__"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_weights_come_back_unchanged(name):
    arch, weights, _ = recorded(name)
    net = abstract(arch)
    load_into(net, weights)
    back = from_network(net)
    assert back.keys() == weights.keys()
    for key in weights:
        assert back[key].dtype == np.float32
        np.testing.assert_array_equal(back[key], weights[key])


def test_layers_the_released_code_lacks_have_keys_of_the_same_making():
    arch = Architecture(
        "keys",
        32,
        3,
        7,
        Stem(4, 4, 4, "patch"),
        (Stage("convnext", 6, 12, 3, 1, 2), Stage("inverted_se", 8, 24, 3, 1, 1)),
        head_norm=True,
    )
    net = Network(arch, rngs=nnx.Rngs(0))
    found = {key: value.shape for key, value in from_network(net).items() if ".bn1." not in key}
    first, second = "block_list.1.block_list.0", "block_list.2.block_list.0"
    assert found == {
        "block_list.0.conv1.weight": (4, 3, 4, 4),
        "block_list.0.conv1.bias": (4,),
        "block_list.0.ln1.weight": (4,),
        "block_list.0.ln1.bias": (4,),
        f"{first}.conv0.ln1.weight": (4,),
        f"{first}.conv0.ln1.bias": (4,),
        f"{first}.conv1.conv1.weight": (6, 4, 2, 2),
        f"{first}.conv1.conv1.bias": (6,),
        f"{first}.conv2.conv1.weight": (6, 1, 3, 3),
        f"{first}.conv2.conv1.bias": (6,),
        f"{first}.conv2.ln1.weight": (6,),
        f"{first}.conv2.ln1.bias": (6,),
        f"{first}.conv3.conv1.weight": (12, 6, 1, 1),
        f"{first}.conv3.conv1.bias": (12,),
        f"{first}.conv4.conv1.weight": (6, 12, 1, 1),
        f"{first}.conv4.conv1.bias": (6,),
        f"{first}.conv4.ls1.gamma": (6,),
        f"{second}.conv1.conv1.weight": (18, 6, 1, 1),
        f"{second}.conv2.conv1.weight": (18, 1, 3, 3),
        f"{second}.se2.conv1.conv1.weight": (1, 18, 1, 1),
        f"{second}.se2.conv1.conv1.bias": (1,),
        f"{second}.se2.conv2.conv1.weight": (18, 1, 1, 1),
        f"{second}.se2.conv2.conv1.bias": (18,),
        f"{second}.conv3.conv1.weight": (8, 18, 1, 1),
        "fc_norm.weight": (8,),
        "fc_norm.bias": (8,),
        "fc_linear.weight": (7, 8),
        "fc_linear.bias": (7,),
    }
    # Nothing of the network is left out.
    assert sum(value.size for value in from_network(net).values()) == sum(
        leaf.size for leaf in jax.tree.leaves(nnx.state(net, nnx.Param, nnx.BatchStat))
    )


def test_every_bad_key_is_listed_and_nothing_is_loaded():
    arch, weights, _ = recorded("mbv2se_a")
    wrong = dict(weights)
    del wrong["fc_linear.bias"], wrong["block_list.1.block_list.1.se2.conv2.bn1.running_var"]
    wrong["block_list.9.conv1.weight"] = np.zeros((1, 2, 1, 1))
    wrong["block_list.2.block_list.1.conv2.conv1.weight"] = np.zeros((40, 1, 5, 5))
    net = abstract(arch)
    load_into(net, weights)
    with pytest.raises(UserError) as error:
        load_into(net, {key: value + 1 for key, value in wrong.items()})
    assert str(error.value).splitlines()[1:] == [
        "  missing: block_list.1.block_list.1.se2.conv2.bn1.running_var (24,)",
        "  missing: fc_linear.bias (10,)",
        "  unknown: block_list.9.conv1.weight (1, 2, 1, 1)",
        "  shape: block_list.2.block_list.1.conv2.conv1.weight is (40, 1, 5, 5), "
        "needs (40, 1, 3, 3)",
    ]
    for key, value in from_network(net).items():
        np.testing.assert_array_equal(value, weights[key])


def test_counts_of_batches_are_passed_over():
    arch, weights, _ = recorded("k1kx_a")
    load_into(abstract(arch), weights | {"block_list.0.bn1.num_batches_tracked": np.array(7)})
