"""Stem and head of the networks that the paper compares with, by their family."""

from deepmad_jax.arch import token_blocks as tokens
from deepmad_jax.arch.large_kernel_blocks import replk_stem
from deepmad_jax.arch.rows import Layer, Number
from deepmad_jax.arch.spec import Architecture


def compared_stem(arch: Architecture) -> list[Layer]:
    """The layers of a stem of a kind that only `families.FAMILIES` have."""
    stem, c_in, r_in = arch.stem, arch.in_channels, arch.resolution
    r = -(-r_in // stem.reduction)
    if stem.kind == "patches":
        return tokens.patch_stem(c_in, stem.width, stem.kernel, r_in, r)
    if stem.kind == "class_token":
        return tokens.class_token_stem(c_in, stem.width, stem.kernel, r_in, r)
    if stem.kind == "tnt":
        return tokens.tnt_stem(c_in, stem.width, stem.token_width, stem.kernel, r_in, r)
    if stem.kind == "large_kernel":
        return replk_stem(c_in, stem.width, r_in, -(-r_in // stem.stride))
    performer = stem.kind == "t2t_performer"
    return tokens.t2t_stem(c_in, stem.width, stem.token_width, r_in, r, performer)


def compared_head(arch: Architecture, c_in: Number, r: Number) -> list[Layer]:
    """The layers of a family's head; of Swin as a backbone the average alone."""
    family = arch.family
    assert family is not None, arch
    mean = Layer("mean", "head", c_in, c_in, r, 1)
    if arch.stage_norms:
        return [mean]
    classifier = Layer("dense", "head", c_in, arch.classes, 1, 1, draw=family.draw)
    if family.head == "batch_norm_mean":
        return [Layer("norm", "main", c_in, c_in, r, r), mean, classifier]
    norm_r = r if family.head == "norm_mean" else 1
    branch = "main" if family.head == "norm_mean" else "head"
    norm = Layer("layer_norm", branch, c_in, c_in, norm_r, norm_r, epsilon=family.epsilon)
    if family.head == "norm_mean":
        return [norm, mean, classifier]
    if family.head == "class_token":
        return [Layer("pick", "head", c_in, c_in, r, 1, extra=1), norm, classifier]
    return [mean, *([norm] if arch.head_norm else []), classifier]
