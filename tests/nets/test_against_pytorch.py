"""Blocks that no fixture holds against plain PyTorch modules, with the same random weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from deepmad_jax.arch import Architecture, Stage, Stem
from deepmad_jax.nets import Network

torch = pytest.importorskip("torch")
F = torch.nn.functional


class ConvNorm(torch.nn.Sequential):
    """Conv without bias and BatchNorm, padded as the papers do."""

    def __init__(self, c_in, c_out, kernel=1, stride=1, groups=1):
        padding = (kernel - 1) // 2
        conv = torch.nn.Conv2d(c_in, c_out, kernel, stride, padding, groups=groups, bias=False)
        super().__init__(conv, torch.nn.BatchNorm2d(c_out))


class Basic(torch.nn.Module):
    def __init__(self, c_in, inner, width, kernel, stride, projected=True):
        super().__init__()
        self.one = ConvNorm(c_in, inner, kernel, stride)
        self.two = ConvNorm(inner, width, kernel)
        self.stride, self.more = stride, width - c_in
        changes = stride != 1 or c_in != width
        self.project = ConvNorm(c_in, width, 1, stride) if projected and changes else None

    def forward(self, x):
        y = self.two(self.one(x).relu())
        if self.project is not None:
            return (y + self.project(x)).relu()
        x = x[:, :, :: self.stride, :: self.stride]
        return (y + torch.cat([x, torch.zeros_like(x)[:, : self.more]], 1)).relu()


class Bottleneck(torch.nn.Module):
    def __init__(self, c_in, inner, width, kernel, stride, groups=1):
        super().__init__()
        self.one = ConvNorm(c_in, inner)
        self.two = ConvNorm(inner, inner, kernel, stride, groups)
        self.three = ConvNorm(inner, width)
        changes = stride != 1 or c_in != width
        self.project = ConvNorm(c_in, width, 1, stride) if changes else torch.nn.Identity()

    def forward(self, x):
        y = self.three(self.two(self.one(x).relu()).relu())
        return (y + self.project(x)).relu()


class InvertedResidual(torch.nn.Module):
    def __init__(self, c_in, expansion, width, kernel, stride, act, squeeze):
        super().__init__()
        inner = c_in * expansion
        self.act, self.joins = act, stride == 1 and c_in == width
        self.expand = ConvNorm(c_in, inner) if expansion > 1 else None
        self.depthwise = ConvNorm(inner, inner, kernel, stride, inner)
        self.down = torch.nn.Conv2d(inner, c_in // 4, 1) if squeeze else None
        self.up = torch.nn.Conv2d(c_in // 4, inner, 1) if squeeze else None
        self.project = ConvNorm(inner, width)

    def forward(self, x):
        y = x if self.expand is None else self.act(self.expand(x))
        y = self.act(self.depthwise(y))
        if self.down is not None:
            y = y * self.up(self.act(self.down(y.mean((2, 3), keepdim=True)))).sigmoid()
        y = self.project(y)
        return x + y if self.joins else y


class ChannelNorm(torch.nn.LayerNorm):
    """LayerNorm over the channels of each pixel."""

    def __init__(self, channels):
        super().__init__(channels, eps=1e-6)

    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Scale(torch.nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.empty(channels, 1, 1))

    def forward(self, x):
        return x * self.weight


class ConvNext(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.branch = torch.nn.Sequential(
            torch.nn.Conv2d(width, width, 7, padding=3, groups=width),
            ChannelNorm(width),
            torch.nn.Conv2d(width, 4 * width, 1),
            torch.nn.GELU(),
            torch.nn.Conv2d(4 * width, width, 1),
            Scale(width),
        )

    def forward(self, x):
        return x + self.branch(x)


class FusedInverted(torch.nn.Module):
    def __init__(self, c_in, inner, width, kernel, stride):
        super().__init__()
        self.expand = ConvNorm(c_in, inner, kernel, stride)
        self.project = ConvNorm(inner, width)
        self.joins = c_in == width
        self.pool = torch.nn.AvgPool2d(2) if stride == 2 else torch.nn.Identity()

    def forward(self, x):
        y = self.project(F.silu(self.expand(x)))
        return F.silu(y + self.pool(x) if self.joins else y)


class Attention(torch.nn.Module):
    """Heads of a width of their own, which need not add up to that of the map."""

    def __init__(self, width, hidden, heads, head_width):
        super().__init__()
        self.heads, values = heads, heads * head_width
        self.norm = ChannelNorm(width)
        self.qkv = torch.nn.Conv2d(width, 3 * values, 1)
        self.out = torch.nn.Conv2d(values, width, 1)
        self.out_scale = Scale(width)
        self.mlp = torch.nn.Sequential(
            ChannelNorm(width),
            torch.nn.Conv2d(width, hidden, 1),
            torch.nn.GELU(),
            torch.nn.Conv2d(hidden, width, 1),
            Scale(width),
        )

    def forward(self, x):
        n, _, h, w = x.shape
        tokens = self.qkv(self.norm(x)).reshape(n, 3, self.heads, -1, h * w).mT
        y = F.scaled_dot_product_attention(*tokens.unbind(1)).mT.reshape(n, -1, h, w)
        x = x + self.out_scale(self.out(y))
        return x + self.mlp(x)


class Head(torch.nn.Module):
    def __init__(self, width, classes, norm=False):
        super().__init__()
        self.norm = ChannelNorm(width) if norm else torch.nn.Identity()
        self.dense = torch.nn.Linear(width, classes)

    def forward(self, x):
        return self.dense(self.norm(x.mean((2, 3), keepdim=True)).flatten(1))


def resnet():
    arch = Architecture(
        "resnet",
        32,
        3,
        5,
        Stem(8, 7, 2, "max_pool"),
        (
            Stage("res_basic", 8, 10, 3, 1, 1),
            Stage("res_basic", 12, 10, 3, 3, 2),
            Stage("res_bottleneck", 24, 8, 5, 3, 2, groups=4),
        ),
    )
    return arch, torch.nn.Sequential(
        ConvNorm(3, 8, 7, 2),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(3, 2, 1),
        Basic(8, 10, 8, 3, 1),
        Basic(8, 10, 12, 3, 2),
        Basic(12, 10, 12, 3, 1),
        Basic(12, 10, 12, 3, 1),
        Bottleneck(12, 8, 24, 5, 2, 4),
        Bottleneck(24, 8, 24, 5, 1, 4),
        Bottleneck(24, 8, 24, 5, 1, 4),
        Head(24, 5),
    )


def padded_resnet():
    arch = Architecture(
        "padded",
        32,
        3,
        5,
        Stem(4, 3, 1),
        (
            Stage("res_basic_pad", 4, 4, 3, 1, 1),
            Stage("res_basic_pad", 8, 8, 3, 2, 2),
            Stage("res_basic_pad", 13, 8, 3, 1, 2),
        ),
    )
    return arch, torch.nn.Sequential(
        ConvNorm(3, 4, 3),
        torch.nn.ReLU(),
        Basic(4, 4, 4, 3, 1, projected=False),
        Basic(4, 8, 8, 3, 2, projected=False),
        Basic(8, 8, 8, 3, 1, projected=False),
        Basic(8, 8, 13, 3, 2, projected=False),
        Head(13, 5),
    )


def inverted(squeeze):
    activation, act = ("silu", F.silu) if squeeze else ("relu6", F.relu6)
    block = "inverted_se" if squeeze else "inverted"
    arch = Architecture(
        block,
        32,
        3,
        5,
        Stem(8),
        (Stage(block, 8, 8, 3, 1, 1), Stage(block, 12, 48, 5, 3, 2), Stage(block, 16, 96, 3, 1, 1)),
        20,
        activation,
    )
    rest = {"act": act, "squeeze": squeeze}
    module = torch.nn.SiLU() if squeeze else torch.nn.ReLU6()
    return arch, torch.nn.Sequential(
        ConvNorm(3, 8, 3, 2),
        module,
        InvertedResidual(8, 1, 8, 3, 1, **rest),
        InvertedResidual(8, 4, 12, 5, 2, **rest),
        InvertedResidual(12, 4, 12, 5, 1, **rest),
        InvertedResidual(12, 4, 12, 5, 1, **rest),
        InvertedResidual(12, 6, 16, 3, 1, **rest),
        ConvNorm(16, 20),
        module,
        Head(20, 5),
    )


def convnext():
    arch = Architecture(
        "convnext",
        32,
        3,
        5,
        Stem(8, 4, 4, "patch"),
        (Stage("convnext", 8, 32, 7, 1, 1), Stage("convnext", 12, 48, 7, 3, 2)),
        head_norm=True,
    )
    return arch, torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 4, 4),
        ChannelNorm(8),
        ConvNext(8),
        ChannelNorm(8),
        torch.nn.Conv2d(8, 12, 2, 2),
        ConvNext(12),
        ConvNext(12),
        ConvNext(12),
        Head(12, 5, norm=True),
    )


def fused():
    stages = (Stage("fused_mbconv", 8, 16, 3, 2, 1), Stage("fused_mbconv", 8, 24, 5, 2, 2))
    stages = (*stages, Stage("fused_mbconv", 12, 10, 3, 1, 2))
    return Architecture("fused", 32, 3, 5, Stem(8), stages), torch.nn.Sequential(
        ConvNorm(3, 8, 3, 2),
        torch.nn.ReLU(),
        FusedInverted(8, 16, 8, 3, 1),
        FusedInverted(8, 16, 8, 3, 1),
        FusedInverted(8, 24, 8, 5, 2),
        FusedInverted(8, 24, 8, 5, 1),
        FusedInverted(8, 10, 12, 3, 2),
        Head(12, 5),
    )


def hybrid():
    """Convs, then attention, which widens once with and once without a stride."""
    stages = (
        Stage("convnext", 8, 32, 7, 1, 1),
        Stage("attention", 12, 20, 1, 3, 2, heads=3, head_width=5),
        Stage("attention", 16, 24, 1, 1, 1, heads=2, head_width=4),
    )
    arch = Architecture("hybrid", 32, 3, 5, Stem(8, 4, 4, "patch"), stages, head_norm=True)
    return arch, torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 4, 4),
        ChannelNorm(8),
        ConvNext(8),
        ChannelNorm(8),
        torch.nn.Conv2d(8, 12, 2, 2),
        Attention(12, 20, 3, 5),
        Attention(12, 20, 3, 5),
        Attention(12, 20, 3, 5),
        ChannelNorm(12),
        torch.nn.Conv2d(12, 16, 1),
        Attention(16, 24, 2, 4),
        Head(16, 5, norm=True),
    )


# Odd sizes where the papers' padding defines them; whole patches for ConvNeXt.
CASES = {
    "resnet": (resnet, (45, 38)),
    "padded shortcuts": (padded_resnet, (19, 14)),
    "inverted residual, ReLU6": (lambda: inverted(False), (45, 38)),
    "inverted residual, SiLU, squeeze": (lambda: inverted(True), (45, 38)),
    "convnext": (convnext, (32, 48)),
    "fused MBConv": (fused, (64, 48)),
    "attention after convs": (hybrid, (32, 48)),
}


@pytest.mark.parametrize("case", CASES)
def test_logits_equal_pytorchs(case):
    make, size = CASES[case]
    arch, reference = make()
    randomise(reference)
    # Scanned: equal blocks are compiled once, and compiling is all that takes time here.
    net = nnx.eval_shape(lambda: Network(arch, rngs=nnx.Rngs(0), scan=True))
    load(net, reference)
    images = np.random.default_rng(1).normal(size=(2, *size, 3)).astype(np.float32)
    with torch.no_grad():
        expected = reference(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()
    graphdef, state = nnx.split(net)
    logits = jax.jit(lambda s, x: nnx.merge(graphdef, s)(x))(state, images)
    assert np.abs(expected).max() > 0.1
    # float32 sums of up to some hundred terms through at most 18 convs; seen: 7e-7. Ten times that
    # tells GELU from its tanh approximation, and one epsilon from another.
    np.testing.assert_allclose(logits, expected, rtol=0, atol=7e-6 * np.abs(expected).max())


def randomise(module):
    """Weights that keep the size of the activations, and no parameter left at its start."""
    generator = torch.Generator().manual_seed(0)
    for leaf in leaves(module):
        for name, value in leaf.state_dict().items():
            if name == "running_var" or (name == "weight" and value.ndim == 1) or value.ndim == 3:
                value.uniform_(0.5, 1.5, generator=generator)
            elif name == "weight":
                fan_in = value[0].numel()
                value.normal_(0, fan_in**-0.5 * 1.4, generator=generator)
            elif name != "num_batches_tracked":
                value.normal_(0, 0.3, generator=generator)
    module.eval()


LEAVES = (
    torch.nn.Conv2d,
    torch.nn.BatchNorm2d,
    torch.nn.LayerNorm,
    torch.nn.Linear,
    Scale,
)
NAMES = {"scale": "weight", "mean": "running_mean", "var": "running_var", "kernel": "weight"}
"""Our name of an array -> PyTorch's, where they differ."""


def leaves(module):
    return [part for part in module.modules() if isinstance(part, LEAVES)]


def load(net, reference):
    """The weights of PyTorch's layers, which stand in the order of the network's own."""
    source = iter(leaves(reference))
    for block, repeats in blocks(net):
        names = [name for name, _ in block.plan if name]
        arrays = dict(nnx.to_flat_state(nnx.state(block)))
        copies = [{name: next(source).state_dict() for name in names} for _ in range(repeats or 1)]
        for path, array in arrays.items():
            _, name, leaf = path
            parts = [as_ours(copy[name][NAMES.get(leaf, leaf)].numpy()) for copy in copies]
            value = np.stack(parts) if repeats else parts[0]
            assert value.shape == array.shape, path
            arrays[path] = array.replace(jnp.asarray(value))
        nnx.update(block, nnx.from_flat_state(arrays))
    assert next(source, None) is None


def blocks(net):
    """Each block, and of how many its arrays are a stack; 0 for none."""
    yield net.stem, 0
    for stage, spec in zip(net.stages, net.arch.stages, strict=True):
        yield stage.first, 0
        if stage.rest is not None:
            yield stage.rest, spec.depth - 1
    if net.final is not None:
        yield net.final, 0
    yield net.head, 0


def as_ours(value):
    """Kernels OIHW and (out, in) to HWIO and (in, out); one factor a channel to a vector."""
    if value.ndim == 4:
        return value.transpose(2, 3, 1, 0)
    return value.T if value.ndim == 2 else value.reshape(-1)
