"""The compared networks as PyTorch functions of their authors' state dicts, to train beside ours.

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


def attend(q, k, v, scale):
    """Every query's mean of the values; shapes (windows, heads, tokens, channels of a head)."""
    mixed = (scale * q @ k.transpose(-1, -2)).softmax(-1) @ v
    return mixed.transpose(1, 2).flatten(2)


def by_head(x, heads):
    """Tokens of shape (windows, tokens, channels) as (windows, heads, tokens, ...)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


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


def pvt(p, x, arch, train=True):
    last = len(arch.stages)
    for i, stage in enumerate(arch.stages, 1):
        embed = f"patch_embed{i}"
        size = arch.stem.kernel if i == 1 else 2
        x = F.conv2d(x, p[f"{embed}.proj.weight"], p[f"{embed}.proj.bias"], stride=size)
        side = x.shape[-1]
        x = norm(p, f"{embed}.norm", x.flatten(2).transpose(1, 2), 1e-5)
        if i == last:
            x = torch.cat([p["cls_token"].expand(len(x), -1, -1), x], 1)
        x = x + p[f"pos_embed{i}"]
        for j in range(stage.depth):
            name = f"block{i}.{j}"
            normed = norm(p, f"{name}.norm1", x, 1e-6)
            x = x + pvt_attention(p, f"{name}.attn", normed, side, stage.heads, stage.kernel)
            x = x + mlp(p, f"{name}.mlp", norm(p, f"{name}.norm2", x, 1e-6))
        if i < last:
            x = x.transpose(1, 2).unflatten(2, (side, side))
    return linear(p, "head", norm(p, "norm", x, 1e-6)[:, 0])


def pvt_attention(p, name, x, side, heads, reduction):
    q, seen = linear(p, f"{name}.q", x), x
    if reduction > 1:
        pixels = x.transpose(1, 2).unflatten(2, (side, side))
        weight, bias = p[f"{name}.sr.weight"], p[f"{name}.sr.bias"]
        reduced = F.conv2d(pixels, weight, bias, stride=reduction)
        seen = norm(p, f"{name}.norm", reduced.flatten(2).transpose(1, 2), 1e-5)
    k, v = linear(p, f"{name}.kv", seen).chunk(2, -1)
    scale = (x.shape[-1] // heads) ** -0.5
    return linear(p, f"{name}.proj", attend(*(by_head(t, heads) for t in (q, k, v)), scale))


def t2t(p, x, arch, train=True):
    for i, (kernel, stride) in enumerate(((7, 4), (3, 2), (3, 2)), 1):
        x = F.unfold(x, kernel, padding=kernel // 2 - (i == 1), stride=stride).transpose(1, 2)
        if i < 3:
            x = token_transformer(p, f"tokens_to_token.attention{i}", x)
            side = round(x.shape[1] ** 0.5)
            x = x.transpose(1, 2).unflatten(2, (side, side))
    x = linear(p, "tokens_to_token.project", x)
    x = torch.cat([p["cls_token"].expand(len(x), -1, -1), x], 1) + p["pos_embed"]
    (stage,) = arch.stages
    for i in range(stage.depth):
        name = f"blocks.{i}"
        normed = norm(p, f"{name}.norm1", x, 1e-5)
        x = x + attention(p, f"{name}.attn", normed, stage.heads)
        x = x + mlp(p, f"{name}.mlp", norm(p, f"{name}.norm2", x, 1e-5))
    return linear(p, "head", norm(p, "norm", x, 1e-5)[:, 0])


def token_transformer(p, name, x):
    scale = x.shape[-1] ** -0.5
    q, k, v = linear(p, f"{name}.attn.qkv", norm(p, f"{name}.norm1", x, 1e-5)).chunk(3, -1)
    y = v + linear(p, f"{name}.attn.proj", attend(*(by_head(t, 1) for t in (q, k, v)), scale))
    return y + mlp(p, f"{name}.mlp", norm(p, f"{name}.norm2", y, 1e-5))


def tnt(p, x, arch, train=True):
    (stage,) = arch.stages
    size, count = arch.stem.kernel, len(x)
    patches = x.unfold(2, size, size).unfold(3, size, size).permute(0, 2, 3, 1, 4, 5)
    weight, bias = p["patch_embed.proj.weight"], p["patch_embed.proj.bias"]
    words = F.conv2d(patches.flatten(0, 2), weight, bias, stride=4, padding=3)
    inner = words.flatten(2).transpose(1, 2) + p["inner_pos"]
    outer = norm(p, "proj_norm1", inner.reshape(count, -1, inner[0].numel()), 1e-5)
    outer = norm(p, "proj_norm2", linear(p, "proj", outer), 1e-5)
    outer = torch.cat([p["cls_token"].expand(count, -1, -1), outer], 1) + p["outer_pos"]
    for i in range(stage.depth):
        name = f"blocks.{i}"
        inner = tnt_half(p, f"{name}.inner", inner, 4)
        told = norm(p, f"{name}.proj_norm1", inner.reshape(count, -1, inner[0].numel()), 1e-5)
        told = norm(p, f"{name}.proj_norm2", linear(p, f"{name}.proj", told), 1e-5)
        outer = outer + F.pad(told, (0, 0, 1, 0))  # not to the class token
        outer = tnt_half(p, f"{name}.outer", outer, stage.heads)
    return linear(p, "head", norm(p, "norm", outer, 1e-5)[:, 0])


def tnt_half(p, name, x, heads):
    y = norm(p, f"{name}_norm1", x, 1e-5)
    q, k = linear(p, f"{name}_attn.qk", y).chunk(2, -1)
    parts = (q, k, linear(p, f"{name}_attn.v", y))
    scale = (x.shape[-1] // heads) ** -0.5
    mixed = attend(*(by_head(t, heads) for t in parts), scale)
    x = x + linear(p, f"{name}_attn.proj", mixed)
    return x + mlp(p, f"{name}_mlp", norm(p, f"{name}_norm2", x, 1e-5))


def slak(p, x, arch, train=True):
    def conv_norm(name, y):
        weight = p[f"{name}.conv.weight"]
        padding = tuple(size // 2 for size in weight.shape[2:])
        y = F.conv2d(y, weight, None, 1, padding, 1, len(weight))
        statistics = (p[f"{name}.bn.running_mean"], p[f"{name}.bn.running_var"])
        return F.batch_norm(y, *statistics, p[f"{name}.bn.weight"], p[f"{name}.bn.bias"], train)

    def pixels_norm(name, y):
        return norm(p, name, y.permute(0, 2, 3, 1), 1e-6).permute(0, 3, 1, 2)

    for i, stage in enumerate(arch.stages):
        # Stem: conv, then norm; between stages the other way round.
        first, second = (f"downsample_layers.{i}.{k}" for k in (0, 1))
        conv, before = (first, None) if i == 0 else (second, first)
        x = x if before is None else pixels_norm(before, x)
        x = F.conv2d(x, p[f"{conv}.weight"], p[f"{conv}.bias"], stride=4 if i == 0 else 2)
        x = pixels_norm(second, x) if i == 0 else x
        for j in range(stage.depth):
            name = f"stages.{i}.{j}"
            convs = [f"{name}.large_kernel.{kind}" for kind in ("LoRA1", "LoRA2", "small_conv")]
            y = sum(conv_norm(conv, x) for conv in convs).permute(0, 2, 3, 1)
            y = F.gelu(linear(p, f"{name}.pwconv1", norm(p, f"{name}.norm", y, 1e-6)))
            y = p[f"{name}.gamma"] * linear(p, f"{name}.pwconv2", y)
            x = x + y.permute(0, 3, 1, 2)
    return linear(p, "head", norm(p, "norm", x.mean((2, 3)), 1e-6))


TWINS = {
    "deit_a": deit,
    "swin_a": swin,
    "replknet_a": replknet,
    "pvt_a": pvt,
    "t2t_t_a": t2t,
    "tnt_a": tnt,
    "slak_a": slak,
}
"""Name of a recorded network -> its twin."""
