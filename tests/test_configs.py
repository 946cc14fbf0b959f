"""Every config file loads, variants included, and holds the problem it is named for."""

from pathlib import Path

import pytest

from deepmad_jax.design import feasible
from deepmad_jax.main import parse

FILES = sorted((Path(__file__).parent.parent / "configs").glob("*.py"))
VARIANTS = {"r18": ["quick"], "deepmad_29m": ["288"], "zoo": ["cifar100"]}

# name -> block, stages, rho, MACs, params, resolution: SPEC section 4, from the paper's tables.
NAMED = {
    "r18": ("bottleneck", 5, 0.3, 1.82e9, 11.69e6, 224),
    "r34": ("bottleneck", 5, 0.3, 3.68e9, 21.80e6, 224),
    "r50": ("bottleneck", 5, 0.3, 4.13e9, 25.56e6, 224),
    "deepmad_29m": ("mbconv_se", 5, 0.5, 4.5e9, 29e6, 224),
    "deepmad_29m_288": ("mbconv_se", 5, 0.5, 4.5e9, 29e6, 288),
    "deepmad_50m": ("mbconv_se", 5, 0.5, 8.7e9, 50e6, 224),
    "deepmad_89m": ("mbconv_se", 5, 0.5, 15.4e9, 89e6, 224),
    "b0": ("mbconv_se", 7, 0.5, 390e6, 5.3e6, 224),
    "mb": ("mbconv_se", 7, 0.5, 320e6, 3.5e6, 224),
    "r20_cifar": ("basic", 3, 0.5, 41e6, 0.28e6, 32),
    "digits": ("basic", 3, 0.2, 5e6, 0.05e6, 16),
}


def config_of(file, variant=""):
    config, workdir = parse(["main", "--config", f"{file}:{variant}" if variant else str(file)])
    assert workdir == Path("runs") / config.name
    return config


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_config_file_loads_and_its_budgets_can_be_met(file):
    for variant in ["", *VARIANTS.get(file.stem, [])]:
        feasible.check_floors(config_of(file, variant).design)


def test_the_named_problems_are_the_papers():
    found = {}
    for file in FILES:
        for variant in ["", *VARIANTS.get(file.stem, [])]:
            config = config_of(file, variant)
            if config.architecture is not None:  # nothing to design
                continue
            if variant == "quick":
                assert config.name == "r18_quick"  # a workdir of its own
                continue
            p = config.design
            found[config.name] = (p.block, p.num_stages, p.rho, p.macs, p.params, p.resolution)
    assert found == NAMED
