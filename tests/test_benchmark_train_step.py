"""The benchmark's PyTorch network is ours: the same parameters, the same MACs, the same logits."""

import jax
import numpy as np
import pytest
from flax import nnx

from deepmad_jax.arch import Architecture, Stage, Stem, layer_table
from deepmad_jax.arch.cost import params
from deepmad_jax.arch.zoo import zoo
from deepmad_jax.interop import from_network, load_into
from deepmad_jax.interop.tinynas_weights import entries
from deepmad_jax.nets import Network

torch = pytest.importorskip("torch")
from benchmarks.torch_nets import TorchNet, check, decay_groups  # noqa: E402

TINY = [
    Architecture("bottleneck", 32, 3, 5, Stem(8), (Stage("bottleneck", 16, 8, 3, 3, 2),)),
    Architecture(
        "mbconv_se",
        32,
        3,
        5,
        Stem(8),
        (Stage("mbconv_se", 8, 32, 5, 2, 2), Stage("mbconv_se", 16, 48, 3, 1, 2)),
        final_width=24,
    ),
    Architecture(
        "resnet", 32, 3, 5, Stem(8, 7, 2, "max_pool"), (Stage("res_bottleneck", 32, 8, 3, 2, 2),)
    ),
]


@pytest.mark.parametrize("arch", TINY, ids=lambda arch: arch.name)
def test_torch_twin_has_our_costs_and_our_logits(arch):
    net, twin = _with_random_state(arch), TorchNet(arch)
    check(twin, arch)
    missing, unknown = twin.load_state_dict(_state_dict(arch, from_network(net)), strict=False)
    assert not unknown
    assert all(key.endswith("num_batches_tracked") for key in missing)
    images = np.random.default_rng(1).normal(size=(2, 32, 32, 3)).astype(np.float32)
    with torch.no_grad():
        theirs = twin.eval()(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()
    # float32 sums in another order: 1e-6 is seen.
    np.testing.assert_allclose(jax.jit(net)(images), theirs, rtol=0, atol=1e-4)
    assert np.ptp(theirs) > 0.1


@pytest.mark.parametrize("name", ["resnet50", "deepmad_r50", "deepmad_29m"])
def test_twins_of_the_measured_networks_have_their_published_size(name):
    arch = zoo(name)
    with torch.device("meta"):
        twin = TorchNet(arch)
    assert sum(p.numel() for p in twin.parameters()) == params(layer_table(arch))


def test_only_kernels_decay_in_the_torch_step():
    twin = TorchNet(TINY[1])
    decayed, others = (group["params"] for group in decay_groups(twin, 0.1))
    assert len(decayed) + len(others) == len(list(twin.parameters()))
    assert all(p.ndim in (2, 4) for p in decayed)
    assert all(p.ndim == 1 for p in others)


def _with_random_state(arch: Architecture) -> Network:
    """Every number drawn: the initial ones hide a branch that is missing or out of order."""
    net = Network(arch, rngs=nnx.Rngs(0), scan=False)
    rng = np.random.default_rng(0)
    drawn = {
        key: rng.uniform(0.5, 1.5, value.shape) if value.ndim == 1 else value
        for key, value in from_network(net).items()
    }
    load_into(net, drawn)
    return net


def _state_dict(arch: Architecture, weights: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """Weights by the twin's keys, in place of those of the authors' code."""
    return {
        f"{'_'.join(map(str, entry.path[:-3]))}.{block}.{entry.path[-2]}.{key.rpartition('.')[2]}":
        torch.from_numpy(weights[key])
        for entry in entries(arch)
        for block, key in enumerate(entry.keys)
    }  # fmt: skip
