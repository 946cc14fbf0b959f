"""The equivalent PyTorch module of an architecture, written anew for these tests.

Its modules are named as the released code names its own, so that a state dict loads strictly.
Nothing here reads the layer table.
"""

import torch
from torch import nn
from torch.nn import functional as F


class ConvBN(nn.Module):
    def __init__(self, c_in, c_out, k=1, s=1, g=1):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, k, s, (k - 1) // 2, groups=g, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)

    def forward(self, x):
        return self.bn1(self.conv1(x))


class ConvBNReLU(ConvBN):
    def forward(self, x):
        return torch.relu(super().forward(x))


class SqueezeExcite(nn.Module):
    def __init__(self, width):
        super().__init__()
        squeezed = max(1, round(width * 0.25) // 8) * 8
        self.conv1, self.conv2 = ConvBN(width, squeezed), ConvBN(squeezed, width)

    def forward(self, x):
        gate = self.conv2(F.silu(self.conv1(x.mean((2, 3), keepdim=True))))
        return x * torch.sigmoid(gate)


class Residual(nn.Module):
    def __init__(self, stage, c_in, stride, first):
        super().__init__()
        block, c, b, k, g = stage.block, stage.width, stage.inner, stage.kernel, stage.groups
        self.act = F.silu if block == "mbconv_se" else torch.relu
        if block == "basic":
            convs = [ConvBN(c_in, b, k, 1, g), ConvBN(b, c, k, stride, g)]
        elif block == "k1kx":
            convs = [ConvBN(c_in, b), ConvBN(b, c, k, stride, g)]
        elif block == "bottleneck":
            convs = [ConvBN(c_in, b), ConvBN(b, b, k, stride, g), ConvBN(b, c)]
        else:
            convs = [ConvBN(c_in, b), ConvBN(b, b, k, stride, b), ConvBN(b, c)]
        for i, conv in enumerate(convs, 1):
            setattr(self, f"conv{i}", conv)
        self.count = len(convs)
        self.se2 = SqueezeExcite(b) if block == "mbconv_se" else None
        depthwise = block.startswith("mbconv")
        self.joins = c_in == c or not depthwise
        self.stride = stride
        if not depthwise and (c_in != c or (block == "bottleneck" and first)):
            self.residual_proj = ConvBN(c_in, c)
        else:
            self.residual_proj = nn.Identity()

    def forward(self, x):
        y = x
        for i in range(1, self.count + 1):
            y = getattr(self, f"conv{i}")(y)
            if i < self.count:
                y = self.act(y)
            if i == 2 and self.se2 is not None:
                y = self.se2(y)
        if self.joins:
            short = x
            if self.stride == 2:
                short = F.avg_pool2d(x, 2, 2, ceil_mode=True, count_include_pad=False)
            y = y + self.residual_proj(short)
        return self.act(y)


class Stage(nn.Module):
    def __init__(self, stage, c_in):
        super().__init__()
        self.block_list = nn.Sequential(
            Residual(stage, c_in, stage.stride, True),
            *(Residual(stage, stage.width, 1, False) for _ in range(stage.depth - 1)),
        )

    def forward(self, x):
        return self.block_list(x)


class TorchNet(nn.Module):
    """Images ``(batch, channels, height, width)`` to logits, in evaluation mode."""

    def __init__(self, arch):
        super().__init__()
        width = arch.stem.width
        parts = [ConvBNReLU(arch.in_channels, width, arch.stem.kernel, arch.stem.stride)]
        for stage in arch.stages:
            parts.append(Stage(stage, width))
            width = stage.width
        if arch.final_width is not None:
            parts.append(ConvBNReLU(width, arch.final_width))
            width = arch.final_width
        self.block_list = nn.Sequential(*parts)
        self.fc_linear = nn.Linear(width, arch.classes)
        self.eval()

    def forward(self, x):
        return self.fc_linear(self.block_list(x).mean((2, 3)))
