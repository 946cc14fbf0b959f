"""Which operations happen to an image, how strongly and how often: RandAugment and AutoAugment.

A policy draws a list of ``(operation, probability, level)``; a level, 0 to 10, becomes an argument
by the table of its policy. Drawing and doing are apart, so that the draw can be tested against the
published values without looking at an image.

Sources: RandAugment, arXiv 1909.13719, with timm's level noise, probability of a half and, where
asked for, timm's "increasing" arguments (github.com/huggingface/pytorch-image-models,
timm/data/auto_augment.py). AutoAugment's CIFAR-10 policy, arXiv 1805.09501, appendix,
with the arguments of torchvision (transforms/autoaugment.py), which CIFAR-100 recipes use too.
"""

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from deepmad_jax.data.augment import ops
from deepmad_jax.errors import InvalidConfig

MAX_LEVEL = 10.0

Augmentation = Callable[[np.random.Generator, np.ndarray], np.ndarray]
Step = tuple[str, float, float]
"""Name of an operation, its probability and its level."""

OPS: dict[str, Callable[..., np.ndarray]] = {
    "auto_contrast": ops.auto_contrast,
    "equalize": ops.equalize,
    "invert": ops.invert,
    "rotate": ops.rotate,
    "posterize": ops.posterize,
    "solarize": ops.solarize,
    "solarize_add": ops.solarize_add,
    "color": ops.color,
    "contrast": ops.contrast,
    "brightness": ops.brightness,
    "sharpness": ops.sharpness,
    "shear_x": ops.shear_x,
    "shear_y": ops.shear_y,
    "translate_x": ops.translate_x,
    "translate_y": ops.translate_y,
}
"""By name; RandAugment draws among all of them evenly."""

RAND_AUGMENT_OPS = tuple(OPS)

CIFAR_POLICY: tuple[tuple[Step, Step], ...] = (
    (("invert", 0.1, 0), ("contrast", 0.2, 6)),
    (("rotate", 0.7, 2), ("translate_x", 0.3, 9)),
    (("sharpness", 0.8, 1), ("sharpness", 0.9, 3)),
    (("shear_y", 0.5, 8), ("translate_y", 0.7, 9)),
    (("auto_contrast", 0.5, 0), ("equalize", 0.9, 0)),
    (("shear_y", 0.2, 7), ("posterize", 0.3, 7)),
    (("color", 0.4, 3), ("brightness", 0.6, 7)),
    (("sharpness", 0.3, 9), ("brightness", 0.7, 9)),
    (("equalize", 0.6, 0), ("equalize", 0.5, 0)),
    (("contrast", 0.6, 7), ("sharpness", 0.6, 5)),
    (("color", 0.7, 7), ("translate_x", 0.5, 8)),
    (("equalize", 0.3, 0), ("auto_contrast", 0.4, 0)),
    (("translate_y", 0.4, 3), ("sharpness", 0.2, 6)),
    (("brightness", 0.9, 6), ("color", 0.2, 8)),
    (("solarize", 0.5, 2), ("invert", 0.0, 0)),
    (("equalize", 0.2, 0), ("auto_contrast", 0.6, 0)),
    (("equalize", 0.2, 0), ("equalize", 0.6, 0)),
    (("color", 0.9, 9), ("equalize", 0.6, 0)),
    (("auto_contrast", 0.8, 0), ("solarize", 0.2, 8)),
    (("brightness", 0.1, 3), ("color", 0.7, 0)),
    (("solarize", 0.4, 5), ("auto_contrast", 0.9, 0)),
    (("translate_y", 0.9, 9), ("translate_y", 0.7, 9)),
    (("auto_contrast", 0.9, 0), ("solarize", 0.8, 3)),
    (("equalize", 0.8, 0), ("invert", 0.1, 0)),
    (("translate_y", 0.7, 9), ("auto_contrast", 0.9, 0)),
)

MOVES = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
"""Operations that also take an interpolation and a fill."""


def augmentation(
    auto_augment: str | None, color_jitter: float, fill: Sequence[int]
) -> Augmentation:
    """A function of (rng, uint8 image of shape (height, width, channels)) that gives another image.

    Args:
        auto_augment: ``rand-m9-mstd0.5-inc1`` (RandAugment, as timm writes it), ``cifar``
            (AutoAugment's CIFAR policy) or None.
        color_jitter: brightness, contrast and saturation are multiplied, in random order, by
            factors drawn evenly from 1 - x to 1 + x.
        fill: a value per channel for what moves in from outside; ``cifar`` has black instead.

    Raises:
        InvalidConfig: an ``auto_augment`` that is none of these.
    """
    policy = parse(auto_augment, fill) if auto_augment else None

    def augment(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
        if policy is not None:
            image = policy(rng, image)
        return jitter(rng, image, color_jitter) if color_jitter else image

    return augment


def parse(text: str, fill: Sequence[int] = (128, 128, 128)) -> "RandAugment | AutoAugment":
    """The policy of a config's ``auto_augment``.

    >>> parse("rand-m9-mstd0.5-inc1")
    RandAugment(magnitude=9.0, magnitude_std=0.5, num_ops=2, increasing=True, fill=(128, 128, 128))
    """
    if text == "cifar":
        return AutoAugment(CIFAR_POLICY)
    name, *parts = text.split("-")
    fields: dict[str, Any] = {}
    for part in parts:
        matched = re.fullmatch(r"(mstd|m|n|inc)(\d+(?:\.\d+)?)", part)
        if matched is None:
            name = ""
            break
        fields[matched[1]] = float(matched[2])
    if name != "rand" or not 0 <= fields.get("m", MAX_LEVEL) <= MAX_LEVEL:
        raise InvalidConfig(
            f"config.data.auto_augment is {text!r}; expected None, 'cifar', or RandAugment such as "
            "'rand-m9-mstd0.5-inc1': m is the magnitude (0 to 10), mstd its standard deviation, n "
            "the number of operations (2), and inc1 makes every operation stronger with magnitude."
        )
    return RandAugment(
        magnitude=fields.get("m", MAX_LEVEL),
        magnitude_std=fields.get("mstd", 0.0),
        num_ops=int(fields.get("n", 2)),
        increasing=bool(fields.get("inc", 0)),
        fill=tuple(fill),
    )


def jitter(rng: np.random.Generator, image: np.ndarray, strength: float) -> np.ndarray:
    """Brightness, contrast and saturation changed, in random order."""
    changes = (ops.brightness, ops.contrast, ops.color)
    factors = rng.uniform(max(0.0, 1 - strength), 1 + strength, size=3)
    for i in rng.permutation(3):
        image = changes[i](image, float(factors[i]))
    return image


@dataclasses.dataclass(frozen=True)
class RandAugment:
    """``num_ops`` operations drawn with replacement, each done half of the time, as in timm.

    Attributes:
        magnitude, magnitude_std: of the normal distribution that levels are drawn from, cut off at
            0 and 10.
        num_ops: how many are drawn.
        increasing: timm's ``inc1``: posterize, solarize, color, contrast, brightness and sharpness
            also grow stronger with the level.
        fill: a value per channel.
    """

    magnitude: float
    magnitude_std: float
    num_ops: int
    increasing: bool
    fill: tuple[int, ...]

    def __call__(self, rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
        argument = increasing_argument if self.increasing else plain_argument
        for name, _, level in self.draw(rng):
            sign = 1 if rng.random() < 0.5 else -1
            # timm's default: either, for each move anew.
            kernel = "linear" if rng.random() < 0.5 else "cubic"
            value = argument(name, level, sign, image.shape[:2])
            image = apply(name, image, value, kernel, self.fill)
        return image

    def draw(self, rng: np.random.Generator) -> list[Step]:
        """What is done to one image."""
        steps = []
        for i in rng.integers(len(RAND_AUGMENT_OPS), size=self.num_ops):
            level = self.magnitude + self.magnitude_std * rng.standard_normal()
            if rng.random() < 0.5:
                steps.append((RAND_AUGMENT_OPS[i], 0.5, min(max(level, 0.0), MAX_LEVEL)))
        return steps


@dataclasses.dataclass(frozen=True)
class AutoAugment:
    """One of the pairs of operations, each done with its own probability."""

    policy: tuple[tuple[Step, Step], ...]

    def __call__(self, rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
        for name, _, level in self.draw(rng):
            sign = 1 if rng.random() < 0.5 else -1
            value = cifar_argument(name, level, sign, image.shape[:2])
            image = apply(name, image, value, "nearest", (0, 0, 0))
        return image

    def draw(self, rng: np.random.Generator) -> list[Step]:
        """What is done to one image."""
        pair = self.policy[rng.integers(len(self.policy))]
        return [step for step in pair if rng.random() < step[1]]


def apply(
    name: str, image: np.ndarray, value: float | None, interpolation: str, fill: Sequence[int]
) -> np.ndarray:
    """The operation ``name`` of `ops`, with its argument if it takes one."""
    function = OPS[name]
    if value is None:
        return function(image)
    if name in MOVES:
        return function(image, value, interpolation, fill)
    return function(image, value)


def plain_argument(name: str, level: float, sign: int, size: tuple[int, int]) -> float | None:
    """timm's argument of an operation at a level, without ``inc``.

    Args:
        name: of the operation.
        level: 0 to 10.
        sign: 1 or -1.
        size: height and width of the image, pixels.

    Returns:
        Degrees, slope, pixels, bits, threshold or factor; None for operations without argument.
    """
    share = level / MAX_LEVEL
    height, width = size
    if name in ("auto_contrast", "equalize", "invert"):
        return None
    return {
        "rotate": sign * 30.0 * share,
        "posterize": int(4 * share),
        "solarize": int(256 * share),
        "solarize_add": int(110 * share),
        "shear_x": sign * 0.3 * share,
        "shear_y": sign * 0.3 * share,
        "translate_x": sign * 0.45 * share * width,
        "translate_y": sign * 0.45 * share * height,
    }.get(name, 0.1 + 1.8 * share)


def increasing_argument(name: str, level: float, sign: int, size: tuple[int, int]) -> float | None:
    """timm's argument of an operation at a level, with ``inc1``; see `plain_argument`."""
    plain = plain_argument(name, level, sign, size)
    if plain is None:
        return None
    if name == "posterize":
        return 4 - plain
    if name == "solarize":
        return 256 - plain
    if name in ("color", "contrast", "brightness", "sharpness"):
        return max(0.1, 1.0 + sign * 0.9 * level / MAX_LEVEL)
    return plain


def cifar_argument(name: str, level: float, sign: int, size: tuple[int, int]) -> float | None:
    """torchvision's argument of an operation at a level 0 to 9; see `plain_argument`."""
    share = level / 9
    height, width = size
    if name in ("auto_contrast", "equalize", "invert"):
        return None
    return {
        "rotate": sign * 30.0 * share,
        "posterize": 8 - round(4 * share),
        "solarize": 255.0 - 255.0 * share,
        "shear_x": sign * 0.3 * share,
        "shear_y": sign * 0.3 * share,
        # 150 pixels of the 331 that the policy was found with; whole pixels, toward zero.
        "translate_x": int(sign * 150.0 / 331.0 * share * width),
        "translate_y": int(sign * 150.0 / 331.0 * share * height),
    }.get(name, 1.0 + sign * 0.9 * share)
