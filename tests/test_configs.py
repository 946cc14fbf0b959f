"""Every config file and variant loads, and holds the problem and the recipe it is named for."""

import dataclasses
import math
import runpy
from pathlib import Path

import pytest

from deepmad_jax.design.program import feasible
from deepmad_jax.design.program.prepared import prepare
from deepmad_jax.errors import InvalidConfig
from tests.config_files import config_of

FILES = sorted((Path(__file__).parent.parent / "configs").glob("*.py"))
VARIANTS = [
    (file, variant)
    for file in FILES
    for variant in ("", *runpy.run_path(str(file)).get("VARIANTS", {}))
]

# name -> block, stages, rho, MACs, params, resolution: SPEC section 4, from the paper's tables.
R18, R34 = ("bottleneck", 5, 0.3, 1.82e9, 11.69e6, 224), ("bottleneck", 5, 0.3, 3.68e9, 21.8e6, 224)
B0, MB = ("mbconv_se", 7, 0.5, 390e6, 5.3e6, 224), ("mbconv_se", 7, 0.5, 320e6, 3.5e6, 224)

RANDOM_CIFAR = ("basic", 3, math.inf, 41e6, 0.28e6, 32)


def at_rho(problem, rho):
    return (*problem[:2], rho, *problem[3:])


NAMED = {
    "r18": R18,
    "r18_rho0.1": at_rho(R18, 0.1),
    "r18_rho0.15": at_rho(R18, 0.15),
    "r18_rho0.5": at_rho(R18, 0.5),
    "r18_rho0.7": at_rho(R18, 0.7),
    "r18_alpha1": R18,
    "r18_alpha16": R18,
    "r18_fitted": R18,
    "r18_inc1": R18,
    "r18_no_jitter": R18,
    "r34": R34,
    "r34_rho0.15": at_rho(R34, 0.15),
    "r50": ("bottleneck", 5, 0.3, 4.13e9, 25.56e6, 224),
    "r50_gpu": ("bottleneck", 5, 0.3, 3.0e9, 19e6, 224),
    "r50_gpu_cpu": ("bottleneck", 5, 0.3, 6e7, 1.2e6, 64),
    "st_gpu": ("bottleneck", 5, 0.3, 6.0e9, 40e6, 224),
    "st_gpu_cpu": ("bottleneck", 5, 0.3, 1.2e8, 2.4e6, 64),
    "deepmad_29m": ("mbconv_se", 5, 0.5, 4.5e9, 29e6, 224),
    "deepmad_29m_288": ("mbconv_se", 5, 0.5, 4.5e9, 29e6, 288),
    "deepmad_50m": ("mbconv_se", 5, 0.5, 8.7e9, 50e6, 224),
    "deepmad_89m": ("mbconv_se", 5, 0.5, 15.4e9, 89e6, 224),
    "b0": B0,
    "b0_rho0.3": at_rho(B0, 0.3),
    "b0_rho1.0": at_rho(B0, 1.0),
    "b0_rho1.5": at_rho(B0, 1.5),
    "b0_rho2.0": at_rho(B0, 2.0),
    "b0_120epochs": B0,
    "b0_without1": B0,
    "b0_without2": B0,
    "b0_without3": B0,
    "mb": MB,
    "mb_rho1.0": at_rho(MB, 1.0),
    "r20_cifar": ("basic", 3, 0.5, 41e6, 0.28e6, 32),
    "digits": ("basic", 3, 0.2, 5e6, 0.05e6, 16),
    "random_cifar": RANDOM_CIFAR,
    **{f"random_cifar_{i}": RANDOM_CIFAR for i in range(65)},
}

# The rows of Tables 7 and 8: last level's weight; guideline off.
OBJECTIVES = {
    "r18": ((1, 1, 1, 1, 8), 10, True),
    "r18_alpha1": ((1, 1, 1, 1, 1), 10, True),
    "r18_alpha16": ((1, 1, 1, 1, 16), 10, True),
    "b0_120epochs": ((1, 1, 1, 1, 8), 10, True),
    "b0_without1": ((0, 0, 0, 0, 8), 10, True),
    "b0_without2": ((1, 1, 1, 1, 8), 0, True),
    "b0_without3": ((1, 1, 1, 1, 8), 10, False),
}

# SPEC section 8, from Table 12: epochs, warm-up, cool-down, rate, batch, decay, BatchNorm momentum,
# smoothing, mixup, cutmix, switch, eval crop, erasing, policy.
RECIPES = {
    "imagenet2012": (
        480, 20, 10, 0.8, 2048, 5e-5, 0.01, 0.1, 0.8, 1.0, 0.5, 0.95, 0.2, "rand-m9-mstd0.5",
    ),
    "cifar100": (1440, 5, 0, 0.2, 512, 5e-4, 0.01, 0.1, 0.2, 0.0, 0.5, 0.875, 0.5, "cifar"),
}  # fmt: skip


@pytest.fixture(scope="module")
def configs():
    loaded = [config_of(file, variant) for file, variant in VARIANTS]
    by_name = {config.name: config for config in loaded}
    assert len(by_name) == len(loaded)  # or two would share a workdir
    return by_name


@pytest.mark.parametrize(
    ("file", "variant"), VARIANTS, ids=lambda part: getattr(part, "stem", part)
)
def test_config_loads_and_its_budgets_can_be_met(file, variant):
    config = config_of(file, variant)
    problem = config.design
    if config.jobs[0] == "measure":  # which leaves the table that the limit is read by
        problem = problem.untimed
    feasible.check_floors(prepare(problem))


def test_the_named_problems_are_the_papers(configs):
    found = {}
    for name, config in configs.items():
        if config.architecture is not None or config.jobs == ("perceptron",):
            continue  # no convolutional network to design
        if "paper" in config.jobs:
            continue  # the problems of other configs, or on digits
        p = config.design
        found[name] = (p.block, p.num_stages, p.rho, p.macs, p.params, p.resolution)
    assert found.pop("r18_quick")[5] == 64
    assert found == NAMED


@pytest.mark.parametrize("name", OBJECTIVES)
def test_variants_of_the_objective_are_the_papers(configs, name):
    problem = configs[name].design
    assert (problem.level_weights, problem.beta, problem.monotone) == OBJECTIVES[name]


def test_every_paper_config_has_the_recipe_of_table_12(configs):
    for name, config in configs.items():
        if name in ("digits", "mlp_digits", "r18_quick") or "paper" in config.jobs:
            continue
        t, d = config.train, config.data
        recipe = (
            t.epochs, t.warmup_epochs, t.cooldown_epochs, t.learning_rate, t.batch_size,
            t.weight_decay, t.batch_norm_momentum, t.label_smoothing, d.mixup, d.cutmix,
            d.switch_probability, d.eval_crop, d.random_erasing, d.auto_augment,
        )  # fmt: skip
        expected = RECIPES[d.name]
        if name == "deepmad_29m_finetune288":  # ours: where the paper designs anew
            expected = (30, 0, 0, 0.01, 512, *expected[5:])
        if name == "r18_inc1":
            expected = (*expected[:-1], "rand-m9-mstd0.5-inc1")
        if name.startswith(("b0_120", "b0_without")):
            expected = (120, *expected[1:])
        assert recipe == expected, name
        assert t.dtype == ("bfloat16" if d.name == "imagenet2012" else "float32")


def test_variants_differ_from_their_config_in_nothing_else(configs):
    plain, variant = configs["r18"], configs["r18_rho0.5"]
    again = dataclasses.replace(
        variant, name="r18", design=dataclasses.replace(variant.design, rho=0.3)
    )
    assert again == plain


def test_misspelt_variant_is_refused_with_the_nearest():
    r18 = next(file for file in FILES if file.stem == "r18")
    with pytest.raises(
        InvalidConfig, match=r"r18 has no variant 'rho0\.51'; did you mean 'rho0\.5'"
    ):
        config_of(r18, "rho0.51")
