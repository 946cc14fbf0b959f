"""The recipes by which the authors of the compared networks reached the accuracies of Table 3.

What all share, and what each has of its own. Where neither the papers nor this text say it, it is
timm's default: warm-up begins at 1e-6, the cosine ends at 1e-5, RandAugment takes the place of
colour jitter, erased rectangles are noise. The paper's Table 12, by which "one recipe for all" is
trained, is `recipes.IMAGENET_RECIPE`.

Source: the training scripts of microsoft/Swin-Transformer, facebookresearch/deit, whai362/PVT,
huawei-noah/Efficient-AI-Backbones, yitu-opensource/T2T-ViT, VITA-Group/SLaK and
DingXiaoH/RepLKNet-pytorch.
"""

from collections.abc import Mapping

from deepmad_jax.recipes import Fields

_SHARED: Fields = {
    "data.source": "tfds",
    "data.name": "imagenet2012",
    "data.train_augment": "crop",
    "data.crop_interpolation": "bicubic",
    "data.flip": 0.5,
    "data.auto_augment": "rand-m9-mstd0.5-inc1",
    "data.mixup": 0.8,
    "data.cutmix": 1.0,
    "data.switch_probability": 0.5,
    "data.random_erasing": 0.25,
    "data.erasing_fill": "noise",
    "data.eval_crop": 0.875,  # 224 of 256 pixels
    "train.optimizer": "adamw",
    "train.epochs": 300.0,
    "train.cooldown_epochs": 0.0,
    "train.warmup_learning_rate": 1e-6,
    "train.final_learning_rate": 1e-5,
    "train.weight_decay": 0.05,
    "train.label_smoothing": 0.1,
    "train.batch_norm_momentum": 0.1,
    "train.zero_init": False,
    "train.dtype": "bfloat16",
}

_REPEATED: Fields = {"data.repeats": 3, "train.ema_decay": 0.99996}

_CONVNEXT: Fields = {
    **_SHARED,
    "train.learning_rate": 4e-3,
    "train.batch_size": 4096,
    "train.warmup_epochs": 20.0,
    "train.ema_decay": 0.9999,
    "train.final_learning_rate": 1e-6,
}

FAMILY_RECIPES: Mapping[str, Fields] = {
    "swin": {
        **_SHARED,
        "train.learning_rate": 1e-3,
        "train.batch_size": 1024,
        "train.warmup_epochs": 20.0,
        "train.clip_norm": 5.0,
    },
    "deit": {
        **_SHARED,
        **_REPEATED,
        "train.learning_rate": 1e-3,
        "train.batch_size": 1024,
        "train.warmup_epochs": 5.0,
    },
    "pvt": {
        **_SHARED,
        "train.learning_rate": 5e-4,
        "train.batch_size": 512,
        "train.warmup_epochs": 5.0,
        "train.decay_positions": True,
    },
    "tnt": {
        **_SHARED,
        **_REPEATED,
        "train.learning_rate": 1e-3,
        "train.batch_size": 1024,
        "train.warmup_epochs": 5.0,
        "data.normalise": "half",
        "data.eval_crop": 0.9,
    },
    "t2t": {
        **_SHARED,
        "train.learning_rate": 5e-4,
        "train.batch_size": 512,
        "train.warmup_epochs": 10.0,
        "train.ema_decay": 0.99996,
        "data.eval_crop": 0.9,
    },
    "convnext": _CONVNEXT,
    "slak": {**_CONVNEXT, "train.sparsity": 0.4},
    "replknet": {
        **_SHARED,
        "train.learning_rate": 4e-3,
        "train.batch_size": 2048,
        "train.warmup_epochs": 10.0,
        "train.ema_decay": 0.9999,
        "train.final_learning_rate": 1e-6,
        "train.drop_path": 0.5,
    },
}
"""Family -> what all of its networks share."""

NETWORK_RECIPES: Mapping[str, tuple[str, Fields]] = {
    "swin_t": ("swin", {"train.drop_path": 0.2}),
    "swin_s": ("swin", {"train.drop_path": 0.3}),
    "swin_b": ("swin", {"train.drop_path": 0.5}),
    "deit_s": ("deit", {"train.drop_path": 0.1}),
    "deit_b": ("deit", {"train.drop_path": 0.1}),
    "pvt_small": ("pvt", {"train.drop_path": 0.1}),
    "pvt_large": ("pvt", {"train.drop_path": 0.3, "train.clip_norm": 1.0}),
    "tnt_s": ("tnt", {"train.drop_path": 0.1}),
    "tnt_b": ("tnt", {"train.drop_path": 0.1}),
    "t2t_vit_t_14": ("t2t", {"train.drop_path": 0.1}),
    "t2t_vit_t_19": ("t2t", {"train.drop_path": 0.1, "train.weight_decay": 0.065}),
    "t2t_vit_t_24": ("t2t", {"train.drop_path": 0.1, "train.weight_decay": 0.065}),
    "slak_t": (
        "slak",
        {"train.drop_path": 0.1, "train.sparsity_every": 2000, "train.sparsity_moved": 0.5},
    ),
    "slak_s": (
        "slak",
        {"train.drop_path": 0.4, "train.sparsity_every": 100, "train.sparsity_moved": 0.3},
    ),
    "slak_b": (
        "slak",
        {"train.drop_path": 0.5, "train.sparsity_every": 100, "train.sparsity_moved": 0.3},
    ),
    "replknet_31b": ("replknet", {}),
}
"""Network of the zoo -> its family, and what it has of its own."""


def own_recipe(name: str) -> Fields:
    """All that differs from the defaults where a network is trained as its authors did."""
    family, own = NETWORK_RECIPES[name]
    named = {"jobs": ("train", "evaluate"), "architecture": name, "name": name}
    return {**FAMILY_RECIPES[family], **own, **named}
