"""The training recipe's parts against timm's own functions, number by number.

timm is loaded file by file: its package imports torchvision, which may not fit the torch at hand.
"""

import importlib
import importlib.util
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deepmad_jax.config import DataConfig, TrainConfig
from deepmad_jax.data.augment import policies
from deepmad_jax.recipes import CIFAR_RECIPE, IMAGENET_RECIPE
from deepmad_jax.tasks.classify import mixing
from deepmad_jax.tasks.classify.loss import cross_entropy, soft_targets
from deepmad_jax.train import Plan, make_schedule

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def timm():
    """``timm("data.mixup")`` is that module."""
    spec = importlib.util.find_spec("timm")
    if spec is None:
        pytest.skip("needs timm (pip install --no-deps timm)")
    (root,) = spec.submodule_search_locations
    before = set(sys.modules)
    for name in ("timm", "timm.data", "timm.scheduler", "timm.loss", "timm.layers"):
        package = types.ModuleType(name)
        package.__path__ = [root + name.removeprefix("timm").replace(".", "/")]
        sys.modules[name] = package
    yield lambda name: importlib.import_module(f"timm.{name}")
    for name in set(sys.modules) - before:
        if name.partition(".")[0] == "timm":
            del sys.modules[name]


def recipe(fields, group):
    of_group = {n.split(".")[1]: v for n, v in fields.items() if n.startswith(f"{group}.")}
    return {"data": DataConfig, "train": TrainConfig}[group](**of_group)


@pytest.mark.parametrize("fields", [IMAGENET_RECIPE, CIFAR_RECIPE], ids=["imagenet", "cifar"])
def test_the_rate_of_every_step_is_timms_with_the_cool_down_after_the_epochs(timm, fields):
    config = recipe(fields, "train")
    per_epoch = 3
    plan = Plan.of(config, per_epoch * config.batch_size)
    ours = jax.vmap(make_schedule(config, plan))(jnp.arange(plan.total_steps))
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=config.learning_rate)
    theirs = timm("scheduler.cosine_lr").CosineLRScheduler(
        optimizer,
        t_initial=round(config.epochs) * per_epoch,
        lr_min=config.final_learning_rate,
        warmup_t=round(config.warmup_epochs) * per_epoch,
        warmup_lr_init=1e-5,
        t_in_epochs=False,
    )
    assert plan.total_steps == (config.epochs + config.cooldown_epochs) * per_epoch
    expected = [theirs._get_lr(step)[0] for step in range(plan.total_steps)]
    # float32 against float64: the cosine of an angle near pi keeps 1e-7 of the peak.
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=2e-7 * config.learning_rate)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("share", [0.3, 1.0])
def test_mixed_and_smoothed_targets_are_timms(timm, smoothing, share):
    labels = np.array([3, 1, 1, 0])
    smoothed = soft_targets(jnp.asarray(labels), 5, smoothing)
    ours = share * smoothed + (1 - share) * smoothed[::-1]
    theirs = timm("data.mixup").mixup_target(torch.tensor(labels), 5, share, smoothing)
    np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-6)


@pytest.mark.parametrize("seed", range(20))
def test_the_box_of_cutmix_and_the_share_that_remains_are_timms(timm, seed, monkeypatch):
    height, width = 13, 20
    key = jax.random.key(seed)
    config = DataConfig(cutmix=1.0)
    kept = np.asarray(mixing.kept_share(key, height, width, config))
    _, beta, place = jax.random.split(key, 3)
    share = float(jax.random.beta(beta, 1.0, 1.0))
    centres = iter(
        int(jax.random.randint(k, (), 0, length))
        for k, length in zip(jax.random.split(place), (height, width), strict=True)
    )
    mixup = timm("data.mixup")
    monkeypatch.setattr(np.random, "randint", lambda *args, **named: next(centres))
    (top, bottom, left, right), remains = mixup.cutmix_bbox_and_lam((height, width), share)
    expected = np.ones((height, width))
    expected[top:bottom, left:right] = 0.0
    np.testing.assert_array_equal(kept, expected)
    assert kept.mean() == pytest.approx(remains, abs=1e-6)


def test_a_batch_is_mixed_with_its_mirror_image_as_timm_does(timm, monkeypatch):
    images = np.random.default_rng(0).normal(size=(4, 6, 6, 3)).astype(np.float32)
    keys = jax.random.key_data(jax.random.split(jax.random.key(5), 4))
    config = DataConfig(mixup=0.8)
    targets = soft_targets(jnp.array([0, 1, 2, 2]), 3, 0.1)
    mixed, mixed_targets = mixing.mix(keys, jnp.asarray(images), targets, config)
    key = jax.random.fold_in(jax.random.wrap_key_data(keys[0]), mixing.MIXING)
    share = float(mixing.kept_share(key, 6, 6, config)[0, 0])
    theirs = timm("data.mixup").Mixup(mixup_alpha=0.8, num_classes=3, label_smoothing=0.1)
    monkeypatch.setattr(theirs, "_params_per_batch", lambda: (share, False))
    x, y = theirs(torch.tensor(images.transpose(0, 3, 1, 2)), torch.tensor([0, 1, 2, 2]))
    np.testing.assert_allclose(mixed, x.numpy().transpose(0, 2, 3, 1), atol=1e-6)
    np.testing.assert_allclose(mixed_targets, y.numpy(), atol=1e-6)


def test_the_loss_is_timms_with_smoothing_and_with_soft_targets(timm):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(6, 10)).astype(np.float32)
    labels = rng.integers(10, size=6)
    losses = timm("loss.cross_entropy")
    ours = cross_entropy(jnp.asarray(logits), soft_targets(jnp.asarray(labels), 10, 0.1)).mean()
    theirs = losses.LabelSmoothingCrossEntropy(0.1)(torch.tensor(logits), torch.tensor(labels))
    assert float(ours) == pytest.approx(float(theirs), rel=1e-5)
    soft = rng.dirichlet(np.ones(10), size=6).astype(np.float32)
    ours = cross_entropy(jnp.asarray(logits), jnp.asarray(soft)).mean()
    theirs = losses.SoftTargetCrossEntropy()(torch.tensor(logits), torch.tensor(soft))
    assert float(ours) == pytest.approx(float(theirs), rel=1e-5)


# timm's names of the operations -> ours.
OPERATIONS = {
    "AutoContrast": "auto_contrast",
    "Equalize": "equalize",
    "Invert": "invert",
    "Rotate": "rotate",
    "Posterize": "posterize",
    "Solarize": "solarize",
    "SolarizeAdd": "solarize_add",
    "Color": "color",
    "Contrast": "contrast",
    "Brightness": "brightness",
    "Sharpness": "sharpness",
    "ShearX": "shear_x",
    "ShearY": "shear_y",
    "TranslateXRel": "translate_x",
    "TranslateYRel": "translate_y",
}


@pytest.mark.parametrize("text", ["rand-m9-mstd0.5", "rand-m9-mstd0.5-inc1"])
def test_rand_augment_reads_its_text_and_draws_arguments_as_timm_does(timm, text, monkeypatch):
    module = timm("data.auto_augment")
    ours = policies.parse(text)
    theirs = module.rand_augment_transform(text, {"img_mean": (128, 128, 128)})
    assert theirs.num_layers == ours.num_ops
    assert sorted(OPERATIONS) == sorted(op.name.removesuffix("Increasing") for op in theirs.ops)
    assert sorted(OPERATIONS.values()) == sorted(policies.RAND_AUGMENT_OPS)
    argument = policies.increasing_argument if ours.increasing else policies.plain_argument
    size = (100, 100)
    for op in theirs.ops:
        assert op.prob == 0.5
        assert op.magnitude == ours.magnitude
        assert op.magnitude_std == ours.magnitude_std
        name = OPERATIONS[op.name.removesuffix("Increasing")]
        for level in (0.0, 3.7, 9.0, 10.0):
            for sign, drawn in ((1, 0.2), (-1, 0.8)):
                # Which of the signs timm takes is `random() > 0.5`: negative.
                monkeypatch.setattr(module.random, "random", lambda drawn=drawn: drawn)
                expected = op.level_fn(level, op.hparams) if op.level_fn is not None else ()
                got = argument(name, level, sign, size)
                if name.startswith("translate"):
                    got = got / 100  # theirs is a share of the side
                assert list(expected) == pytest.approx([] if got is None else [got]), name


def test_erasing_has_timms_shares_aspects_and_number_of_tries(timm):
    theirs = timm("data.random_erasing").RandomErasing(0.2, mode="pixel")
    assert (theirs.min_area, theirs.max_area) == mixing.ERASED_SHARE
    assert tuple(np.exp(theirs.log_aspect_ratio)) == pytest.approx(mixing.ERASED_ASPECT)
    assert (theirs.min_count, theirs.max_count) == (1, 1)


def test_a_skipped_branch_leaves_the_others_larger_as_in_timm(timm):
    drop = timm("layers.drop")
    rates = drop.calculate_drop_path_rates(0.3, 7)
    np.testing.assert_allclose(np.linspace(0.0, 0.3, 7), rates, atol=1e-7)
    torch.manual_seed(0)
    values = drop.drop_path(torch.ones(2000, 1), 0.3, training=True).unique()
    np.testing.assert_allclose(values.numpy(), [0.0, 1 / 0.7], rtol=1e-6)
