"""The package as a library: the README's own lines, import orders, and what `load` gives."""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import types
from decimal import Decimal
from pathlib import Path

import grain
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import deepmad_jax as dm
from deepmad_jax.arch import BLOCKS, Architecture, Stage, Stem, cost, layer_table, tinynas
from deepmad_jax.design import designer
from deepmad_jax.design.program import feasible
from deepmad_jax.design.program.prepared import prepare
from deepmad_jax.design.program.problem import Problem
from deepmad_jax.design.program.spaces import DEFAULTS, for_small_images
from deepmad_jax.errors import InvalidConfig, MissingData, UserError
from deepmad_jax.interop import from_network
from deepmad_jax.nets import Network
from deepmad_jax.train import Checkpoints, create_state

README = Path(__file__).parent.parent / "README.md"
TINY = Architecture("tiny", 16, 3, 4, Stem(4), (Stage("k1kx", 6, 4, 3, 2, 2),))


@pytest.fixture(scope="module")
def readme(tmp_path_factory):
    """The names that the README's library lines leave, and what they print."""
    pytest.importorskip("onnx")
    code = README.read_text().partition("## As a library")[2].partition("```python\n")[2]
    code = code.partition("```")[0]
    names, out = {}, io.StringIO()
    with contextlib.chdir(tmp_path_factory.mktemp("readme")), contextlib.redirect_stdout(out):
        exec(code, names)
        names["written"] = sorted(path.name for path in Path("exports").iterdir())
    return names | {"printed": out.getvalue()}


def test_the_readmes_lines_design_within_the_budgets_and_print_the_table(readme):
    design = readme["design"]
    rows = layer_table(design.architecture)
    assert cost.params(rows) == design.numbers["params"] <= 0.28e6
    assert cost.macs(rows) == design.numbers["macs"] <= 41e6
    assert design.numbers["rho"] <= 0.2
    assert f"{design.numbers['macs']:,}" in readme["printed"]
    assert repr(design) == str(design)


def test_the_readmes_lines_give_logits_and_features_as_announced(readme):
    assert readme["logits"].shape == (2, 100)
    last = readme["backbone"].feature_info[-1]
    assert readme["features"].shape == (2, 32 // last.stride, 32 // last.stride, last.channels)
    assert re.search(rf"level3 {last.stride} {last.channels} \(2, 8, 8, ", readme["printed"])


def test_the_readmes_lines_write_files_that_give_the_network_back(readme):
    expected = ["architecture.json", "design.onnx", "design.safetensors", "design.txt"]
    assert readme["written"] == expected
    assert readme["again"].arch == readme["design"].architecture
    weights = from_network(readme["net"])
    for key, value in from_network(readme["again"]).items():
        np.testing.assert_array_equal(value, weights[key])


@pytest.mark.parametrize(
    "imports",
    [
        "import deepmad_jax as dm; import deepmad_jax.design.designer as solve",
        "import deepmad_jax.design.designer as solve; import deepmad_jax as dm",
        "from deepmad_jax.design import designer as solve; from deepmad_jax import design; "
        "import deepmad_jax as dm; assert dm.design is design",
        "import deepmad_jax as dm; dm.load; from deepmad_jax.design import designer as solve",
    ],
)
def test_design_is_package_and_function_in_any_import_order_and_loads_no_flax(imports):
    code = (
        f"import sys; {imports}\n"
        "class Found:\n"
        "    architecture = 'net'\n"
        "    def to_dict(self): return {}\n"
        "solve.design_network = lambda problem, name: Found()\n"
        "assert dm.design(macs=1e9).architecture == 'net'\n"
        "from deepmad_jax.design import Problem\n"
        "bad = {'flax', 'optax', 'orbax', 'onnx', 'torch', 'matplotlib'} & set(sys.modules)\n"
        "assert not bad, bad\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_importing_the_package_starts_no_jax():
    code = "import sys, deepmad_jax; sys.exit('jax' in sys.modules or 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_block_kind_has_defaults_whose_space_holds_its_baselines_budget():
    assert set(DEFAULTS) == set(BLOCKS)
    for block, defaults in DEFAULTS.items():
        assert defaults["block"] == block
        # Of MobileNetV2, the smallest of the paper's ImageNet budgets, and of ResNet-20.
        feasible.check_floors(prepare(Problem(macs=320e6, params=3.5e6, **defaults)))
        small = for_small_images(defaults)
        feasible.check_floors(prepare(Problem(resolution=32, macs=41e6, params=28e4, **small)))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"mcas": 1e9}, "did you mean 'macs'"),
        ({"rho": 0.3}, "needs a budget"),
        ({"macs": 1e9, "block": "botleneck"}, "did you mean 'bottleneck'"),
        ({"macs": "1.8X"}, "^macs is '1.8X', but must be a number"),
        ({"macs": None}, "^macs is None, but must be a number"),
        ({"macs": 1e9, "block": ["basic"]}, "^block is .'basic'., but must be text"),
        ({"macs": 1e9, "resolution": "224px"}, "^resolution is '224px', but must be an integer"),
        ({"macs": 1e9, "seed": None}, "^seed is None, but must be an integer"),
        ({"macs": 1e9, "monotone": "maybe"}, "^monotone is 'maybe', but must be True or False"),
        ({"macs": 1e9, "multiple_of": 4.5}, "^multiple_of is 4.5, but must be an integer"),
        ({"macs": 1e9, "name": None}, "^name is None, but must be text"),
    ],
)
def test_a_design_that_cannot_be_asked_for_is_refused(fields, words):
    with pytest.raises(InvalidConfig, match=words):
        dm.design(**fields)


def test_a_design_takes_text_and_arrays_and_chooses_its_space_by_them(monkeypatch):
    asked = []

    def note(problem, name):
        asked.append((problem, name))
        raise InvalidConfig("enough")

    monkeypatch.setattr(designer, "design_network", note)
    plain = {"macs": 41e6, "params": 28e4, "block": "basic", "resolution": 32, "kernels": (3,)}
    written = {
        "macs": "41M",
        "params": Decimal(280_000),
        "block": np.str_("basic"),
        "resolution": "32",
        "kernels": np.array([3]),
    }
    for fields in (plain, written):
        with pytest.raises(InvalidConfig, match="enough"):
            dm.design(**fields)
    assert asked[0] == asked[1]
    assert asked[1][0].strides == (1, 2, 2)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A network and a folder with all the files that hold its weights or structure."""
    folder = tmp_path_factory.mktemp("saved")
    net = dm.build(TINY, seed=3)
    dm.export(net, folder, ["npz", "tinynas"])
    (folder / "tiny.json").write_text(TINY.to_json())
    return net, folder


def test_load_gives_an_architecture_where_there_are_no_weights(saved, tmp_path):
    _, folder = saved
    assert dm.load(folder / "tiny.json") == TINY
    assert dm.load(str(folder / "tiny.txt"), resolution=16, classes=4) == TINY
    (tmp_path / "architecture.json").write_text(TINY.to_json())
    assert dm.load(tmp_path) == TINY


@pytest.mark.parametrize("given", ["object", "json", "beside"])
def test_load_gives_a_network_where_there_are_weights(saved, given):
    net, folder = saved
    if given == "beside":
        (folder / "architecture.json").write_text(TINY.to_json())
    architecture = {"object": TINY, "json": folder / "tiny.json", "beside": None}[given]
    loaded = dm.load(folder / "tiny.npz", architecture=architecture, dtype="bfloat16")
    assert loaded.dtype == "bfloat16"
    for key, value in from_network(loaded).items():
        np.testing.assert_array_equal(value, from_network(net)[key])


def test_weights_without_an_architecture_say_what_to_give(saved, tmp_path):
    _, folder = saved
    (tmp_path / "alone.npz").write_bytes((folder / "tiny.npz").read_bytes())
    with pytest.raises(MissingData, match=r"Give architecture=.*architecture\.json beside"):
        dm.load(tmp_path / "alone.npz")


def test_weights_of_another_architecture_are_refused(saved):
    other = Architecture("other", 16, 3, 5, TINY.stem, TINY.stages)
    with pytest.raises(UserError, match=r"shape: fc_linear.bias is \(4,\), needs \(5,\)"):
        dm.load(saved[1] / "tiny.npz", architecture=other)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere/architecture.json", "Cannot read the architecture file nowhere/.*No such file"),
        ("does/not/exist", "Cannot read the architecture file does/not/exist: No such file"),
        ("does/not/exist.pth", "no file of weights at does/not/exist.pth"),
        ("exist.PT", "no file of weights at exist.PT"),
        ("exist.ckpt", "Cannot read the architecture file exist.ckpt: No such file"),
        ("./resnet50", "Cannot read the architecture file resnet50: No such file"),
        ("no_such_network", "no published network 'no_such_network'"),
        ("resnet50.a1_in1k", "did you mean 'resnet50'"),
    ],
)
def test_what_is_not_there_is_named(name, words):
    with pytest.raises(UserError, match=words):
        dm.load(name)


def test_a_folder_called_like_a_published_network_hides_it_only_where_it_is_a_run(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "resnet20").mkdir()
    assert dm.load("resnet20").name == "resnet20"
    (tmp_path / "resnet20" / "architecture.json").write_text(TINY.to_json())
    assert dm.load("resnet20") == TINY


def test_weights_of_a_training_script_load_with_averages_first_or_by_key(saved, tmp_path):
    torch = pytest.importorskip("torch")
    weights = {key: torch.from_numpy(value) for key, value in from_network(saved[0]).items()}
    doubled = {key: 2 * value for key, value in weights.items()}
    path = tmp_path / "checkpoint.pth"
    torch.save({"model": doubled, "model_ema": weights}, path)
    for key, factor in ((None, 1), ("model", 2)):
        loaded = from_network(dm.load(path, architecture=TINY, key=key))
        np.testing.assert_array_equal(
            loaded["fc_linear.weight"], factor * weights["fc_linear.weight"].numpy()
        )


def test_a_run_with_a_broken_checkpoint_loads_from_the_one_before_and_says_so(tmp_path):
    (tmp_path / "architecture.json").write_text(TINY.to_json())
    nets = {step: dm.build(TINY, seed=step) for step in (1, 2)}
    batches = iter(grain.MapDataset.range(4).to_iter_dataset())
    place = types.SimpleNamespace(get_state=lambda: json.dumps(batches.get_state()).encode())
    with Checkpoints(tmp_path / "checkpoints", 2) as checkpoints:
        for step, net in nets.items():
            _, params, batch_stats = nnx.split(net, nnx.Param, nnx.BatchStat)
            arrays = nnx.to_pure_dict(params), nnx.to_pure_dict(batch_stats)
            checkpoints.save(create_state(*arrays, optax.sgd(0.1), ema=False), place, step)
    os.truncate(tmp_path / "checkpoints" / "2" / "identity" / "metadata", 3)
    with pytest.warns(UserWarning, match="checkpoint of step 2 .* cannot be read"):
        loaded = from_network(dm.load(tmp_path))
    for key, value in from_network(nets[1]).items():
        np.testing.assert_array_equal(loaded[key], value)
    os.truncate(tmp_path / "checkpoints" / "1" / "identity" / "metadata", 3)
    with pytest.raises(UserError, match="None of the checkpoints in"):
        dm.load(tmp_path)


@pytest.mark.parametrize("source", ["gs://bucket/run", "s3://bucket/net.pth", Path("gs://b/run")])
def test_an_address_is_no_path(saved, source):
    with pytest.raises(UserError, match=r"is an address, but only folders and files"):
        dm.load(source)
    with pytest.raises(UserError, match=r"is an address, but only folders and files"):
        dm.export(saved[0], source, ["safetensors"])


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(MissingData, match=r"holds no architecture\.json"):
        dm.load(tmp_path)


def test_build_takes_an_architecture_or_where_it_is(saved):
    net = dm.build(saved[1] / "tiny.json", seed=3)
    assert isinstance(net, Network)
    same = dict(nnx.to_flat_state(nnx.state(saved[0])))
    for path, leaf in nnx.to_flat_state(nnx.state(net)):
        np.testing.assert_array_equal(leaf[...], same[path][...])


@pytest.mark.parametrize("dtype", [jnp.bfloat16, np.dtype("float32"), np.float32, "bfloat16"])
def test_build_takes_a_type_by_name_or_as_it_is(dtype):
    assert dm.build(TINY, seed=np.int64(3), dtype=dtype).dtype == dtype


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda net: dm.load(None), "source is None, but must be a path or name"),
        (lambda net: dm.load(3), "source is 3, but must be a path or name"),
        (lambda net: dm.load(""), "source is '', but must be some text"),
        (
            lambda net: dm.load("resnet20", classes="ten"),
            "classes is 'ten', but must be an integer",
        ),
        (lambda net: dm.load("resnet20", checkpoint="last"), "checkpoint is 'last'"),
        (lambda net: dm.build(None), "architecture is of type NoneType, but must be an Arch"),
        (lambda net: dm.build(net), "architecture is of type Network, but must be an Arch"),
        (lambda net: dm.build(TINY, seed="x"), "seed is 'x', but must be an integer"),
        (lambda net: dm.build(TINY, seed=-1), "seed is -1, but must be at least 0"),
        (lambda net: dm.build(TINY, dtype="fp32"), "dtype is 'fp32'; did you mean 'float32'"),
        (lambda net: dm.build(TINY, dtype=np.int32), "dtype is 'int32'; "),
        (lambda net: dm.build(TINY, dtype=None), "dtype is None, but must be float32 or bfloat16"),
        (lambda net: dm.build(TINY, dtype=3), "dtype is 3, but must be float32 or bfloat16"),
        (lambda net: dm.export(TINY, "x", ["npz"]), "net is of type Architecture, but only"),
        (lambda net: dm.export("a.npz", "x", ["npz"]), "net is of type str, but only"),
        (lambda net: dm.export(net, None, ["npz"]), "directory is None, but must be a path"),
        (lambda net: dm.export(net, "x", ["npy"]), "formats holds 'npy'; did you mean 'npz'"),
        (lambda net: dm.export(net, "x", [None]), "formats holds None"),
        (lambda net: dm.export(net, "x", []), "formats is empty; name at least one of safetensors"),
        (lambda net: dm.export(net, "x", {"npz": 1}), "formats is .*, but must be a list"),
        (lambda net: dm.export(net, "x", "npz", fold="no"), "fold is 'no', but must be True or"),
        (lambda net: dm.export(net, README, "npz"), "Cannot use .*README.md .* File exists"),
        (lambda net: dm.zoo(None), "name is None, but must be text"),
        (lambda net: dm.zoo("resnet20", classes="x"), "classes is 'x', but must be an integer"),
        (lambda net: net(np.zeros((0, 16, 16, 3))), r"array of shape \(0, 16, 16, 3\), but"),
        (lambda net: net([[0]]), "images are of type list, but"),
    ],
)
def test_a_call_with_a_wrong_argument_says_what_it_takes(saved, tmp_path, call, words):
    with contextlib.chdir(tmp_path), pytest.raises(UserError, match=words):
        call(saved[0])
    assert not any(tmp_path.iterdir())


def test_export_takes_one_format_or_a_list_in_text(saved, tmp_path):
    written = dm.export(saved[0], str(tmp_path / "a"), "npz, tinynas")
    assert [path.name for path in written] == ["tiny.npz", "tiny.txt"]


def test_paths_may_start_with_the_home_directory(saved, monkeypatch):
    monkeypatch.setenv("HOME", str(saved[1]))
    assert dm.load("~/tiny.json") == TINY


def test_the_zoo_takes_other_data_in_text():
    assert dm.zoo("resnet20", classes="100") == dm.zoo("resnet20", classes=np.int64(100))


def test_the_released_structure_of_an_export_is_readable(saved):
    text = (saved[1] / "tiny.txt").read_text()
    assert tinynas.from_text(text, "tiny", 16, 4) == TINY
