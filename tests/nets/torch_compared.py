"""DeiT, Swin and RepLKNet as PyTorch functions of their authors' state dicts, to train beside ours.

Written from the papers; the authors' code gave the fixtures, of one forward pass each.
"""

import torch

F = torch.nn.functional


def linear(p, name, x):
    return F.linear(x, p[f"{name}.weight"], p.get(f"{name}.bias"))


def norm(p, name, x, eps):
    return F.layer_norm(x, x.shape[-1:], p[f"{name}.weight"], p[f"{name}.bias"], eps)


def attention(p, name, x, heads, bias=0.0):
    """``x`` of shape (windows, tokens, channels)."""
    count, tokens, channels = x.shape
    qkv = linear(p, f"{name}.qkv", x).reshape(count, tokens, 3, heads, channels // heads)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    shares = (q @ k.transpose(-1, -2) * (channels // heads) ** -0.5 + bias).softmax(-1)
    return linear(p, f"{name}.proj", (shares @ v).transpose(1, 2).reshape(count, tokens, channels))


def mlp(p, name, x):
    return linear(p, f"{name}.fc2", F.gelu(linear(p, f"{name}.fc1", x)))


def deit(p, x, arch, train=True):
    (stage,) = arch.stages
    x = F.conv2d(
        x, p["patch_embed.proj.weight"], p["patch_embed.proj.bias"], stride=arch.stem.stride
    )
    x = x.flatten(2).transpose(1, 2)
    x = torch.cat([p["cls_token"].expand(len(x), -1, -1), x], 1) + p["pos_embed"]
    for i in range(stage.depth):
        name = f"blocks.{i}"
        normed = norm(p, f"{name}.norm1", x, 1e-6)
        x = x + attention(p, f"{name}.attn", normed, stage.heads)
        x = x + mlp(p, f"{name}.mlp", norm(p, f"{name}.norm2", x, 1e-6))
    return linear(p, "head", norm(p, "norm", x, 1e-6)[:, 0])


def swin(p, x, arch, train=True):
    x = F.conv2d(x, p["patch_embed.proj.weight"], p["patch_embed.proj.bias"], stride=4)
    x = norm(p, "patch_embed.norm", x.permute(0, 2, 3, 1), 1e-5)
    for i, stage in enumerate(arch.stages):
        if i:
            corners = [x[:, a::2, b::2] for b in (0, 1) for a in (0, 1)]
            merged = norm(p, f"layers.{i - 1}.downsample.norm", torch.cat(corners, -1), 1e-5)
            x = linear(p, f"layers.{i - 1}.downsample.reduction", merged)
        for j in range(stage.depth):
            shifted = j % 2 == 1 and x.shape[1] > stage.kernel
            x = swin_block(p, f"layers.{i}.blocks.{j}", x, stage.heads, stage.kernel, shifted)
    return linear(p, "head", norm(p, "norm", x, 1e-5).mean((1, 2)))


def swin_block(p, name, x, heads, window, shifted):
    batch, side, _, channels = x.shape
    window = min(window, side)
    shift = window // 2 if shifted else 0
    count = side // window
    places = torch.arange(window)
    gaps = places[:, None] - places + window - 1
    rows = gaps[:, None, :, None] * (2 * window - 1) + gaps[None, :, None, :]
    table = p[f"{name}.attn.relative_position_bias_table"][rows.reshape(window**2, -1)]
    bias = table.permute(2, 0, 1)[None]
    y = norm(p, f"{name}.norm1", x, 1e-5).roll((-shift, -shift), (1, 2))
    if shift:
        # Where a pixel of the rolled map came from: past the edge or not, on both axes.
        rolled = (torch.arange(side) >= side - shift).int()
        bands = windows((2 * rolled[:, None] + rolled)[None, :, :, None], window)[..., 0]
        apart = bands[:, :, None] != bands[:, None]
        bias = bias + torch.where(apart, -100.0, 0.0)[:, None].repeat(batch, 1, 1, 1)
    y = attention(p, f"{name}.attn", windows(y, window), heads, bias)
    y = y.reshape(batch, count, count, window, window, channels).transpose(2, 3)
    x = x + y.reshape(x.shape).roll((shift, shift), (1, 2))
    return x + mlp(p, f"{name}.mlp", norm(p, f"{name}.norm2", x, 1e-5))


def windows(x, side):
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // side, side, width // side, side, channels)
    return x.transpose(2, 3).reshape(-1, side**2, channels)


def replknet(p, x, arch, train=True):
    def bn(name, y):
        statistics = (p[f"{name}.running_mean"], p[f"{name}.running_var"])
        return F.batch_norm(y, *statistics, p[f"{name}.weight"], p[f"{name}.bias"], train)

    def conv(name, y, stride=1):
        weight = p[f"{name}.conv.weight"]
        groups = y.shape[1] // weight.shape[1]
        padding = weight.shape[-1] // 2
        return bn(f"{name}.bn", F.conv2d(y, weight, None, stride, padding, 1, groups))

    for i, stride in enumerate((2, 1, 1, 2)):
        x = conv(f"stem.{i}", x, stride).relu()
    for i, stage in enumerate(arch.stages):
        if i:
            x = conv(f"transitions.{i - 1}.0", x).relu()
            x = conv(f"transitions.{i - 1}.1", x, 2).relu()
        for j in range(stage.depth):
            one, two = (f"stages.{i}.blocks.{2 * j + k}" for k in (0, 1))
            y = conv(f"{one}.pw1", bn(f"{one}.prelkb_bn", x)).relu()
            large = f"{one}.large_kernel"
            y = conv(f"{large}.lkb_origin", y) + conv(f"{large}.small_conv", y)
            x = x + conv(f"{one}.pw2", y.relu())
            y = F.gelu(conv(f"{two}.pw1", bn(f"{two}.preffn_bn", x)))
            x = x + conv(f"{two}.pw2", y)
    return linear(p, "head", bn("norm", x).mean((2, 3)))


TWINS = {"deit_a": deit, "swin_a": swin, "replknet_a": replknet}
"""Name of a recorded network -> its twin."""
