"""Weights in files: three formats, in and out, and every refusal."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from references import (
    BASELINES,
    FIXTURES,
    NAMES,
    SEEDS,
    abstract,
    baseline_network,
    channels_first,
    random_architecture,
    random_network,
    recorded,
)

from deepmad_jax.arch.stages import PAPER_BLOCKS
from deepmad_jax.errors import MissingData, UserError
from deepmad_jax.interop import (
    embedded_architecture,
    from_network,
    load_into,
    read_weights,
    write_weights,
)

ENDINGS = (".npz", ".safetensors", ".pth.tar")


def skip_without(ending):
    pytest.importorskip({".npz": "numpy", ".safetensors": "safetensors"}.get(ending, "torch"))


def assert_same(left, right):
    assert left.keys() == right.keys()
    for key in left:
        assert left[key].dtype == right[key].dtype
        np.testing.assert_array_equal(left[key], right[key])


@pytest.mark.parametrize("name", NAMES)
def test_a_released_checkpoint_reads_as_its_recorded_arrays(name):
    skip_without(".pth.tar")
    _, weights, _ = recorded(name)
    read = read_weights(FIXTURES / f"{name}.pth.tar")
    counters = {key for key in read if key.endswith(".num_batches_tracked")}
    assert_same({key: read[key] for key in read.keys() - counters}, weights)
    assert len(counters) == sum(key.endswith(".running_var") for key in weights)


@pytest.mark.parametrize("ending", ENDINGS)
def test_writing_and_reading_again_is_bit_identical(ending, tmp_path):
    skip_without(ending)
    for net, *_ in (random_network(0), *map(baseline_network, BASELINES)):
        weights = from_network(net)
        path = tmp_path / f"net{ending}"
        write_weights(path, weights, net.arch)
        again = abstract(net.arch)
        load_into(again, read_weights(path))
        assert_same(from_network(again), weights)
        assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_safetensors_file_carries_its_architecture(tmp_path):
    skip_without(".safetensors")
    arch = random_architecture(0)
    write_weights(tmp_path / "a.safetensors", {"x": np.zeros(1, np.float32)}, arch)
    write_weights(tmp_path / "b.safetensors", {"x": np.zeros(1, np.float32)})
    assert embedded_architecture(tmp_path / "a.safetensors") == arch
    assert embedded_architecture(tmp_path / "b.safetensors") is None


@pytest.mark.parametrize("seed", SEEDS)
def test_an_equivalent_pytorch_module_loads_the_export_strictly_and_agrees(seed, tmp_path):
    torch = pytest.importorskip("torch")
    from torch_net import TorchNet

    net, images, logits = random_network(seed, PAPER_BLOCKS)  # what the released code builds
    write_weights(tmp_path / "net.pth.tar", from_network(net))
    module = TorchNet(net.arch)
    checkpoint = torch.load(tmp_path / "net.pth.tar", weights_only=True)
    module.load_state_dict(checkpoint["state_dict"], strict=True)
    with torch.no_grad():
        expected = module(torch.from_numpy(channels_first(images))).numpy()
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_pytorch_modules_own_state_loads_bit_for_bit(seed, tmp_path):
    torch = pytest.importorskip("torch")
    from torch_net import TorchNet

    arch = random_architecture(seed, PAPER_BLOCKS)
    torch.manual_seed(seed)
    module = TorchNet(arch)
    # As saved from a network wrapped for several devices, without an outer "state_dict".
    state = {f"module.{key}": value for key, value in module.state_dict().items()}
    torch.save(state, tmp_path / "wrapped.pth")
    loaded = abstract(arch, scan=False)
    load_into(loaded, read_weights(tmp_path / "wrapped.pth"))
    for key, value in from_network(loaded).items():
        np.testing.assert_array_equal(value, module.state_dict()[key].numpy())


def test_half_precision_checkpoints_are_read_as_float32(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"w": torch.tensor([1.5, -2.0], dtype=torch.bfloat16)}, tmp_path / "half.pth")
    read = read_weights(tmp_path / "half.pth")["w"]
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, [1.5, -2.0])


class _Mark:
    """Unpickling this touches a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


@pytest.mark.parametrize("ending", [".pth.tar", ".npz"])
def test_nothing_in_a_file_of_weights_is_executed(ending, tmp_path):
    skip_without(ending)
    mark, path = tmp_path / "mark", tmp_path / f"evil{ending}"
    if ending == ".npz":
        with path.open("wb") as file:
            np.savez(file, x=np.array([_Mark(str(mark))], dtype=object))
    else:
        path.write_bytes(pickle.dumps({"state_dict": _Mark(str(mark))}, protocol=2))
    words = "holds Python objects" if ending == ".npz" else "asks to run"
    with pytest.raises(UserError, match=rf"Cannot read .*evil.*{words}") as error:
        read_weights(path)
    assert "allow_pickle" not in str(error.value)
    assert not mark.exists()


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    ("contents", "words"),
    [
        (b"nonsense", "damaged, cut short or another kind of file"),
        (b"", "it is empty"),
        (b"<html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
    ],
)
def test_a_broken_file_is_named_and_told_for_what_it_is(ending, contents, words, tmp_path):
    skip_without(ending)
    path = tmp_path / f"broken{ending}"
    path.write_bytes(contents)
    with pytest.raises(UserError, match=rf"Cannot read .*broken.*{words}"):
        read_weights(path)


def _files(tmp_path):
    """The same array in every format, by ending."""
    arrays = {"x": np.arange(1000, dtype=np.float32)}
    for ending in ENDINGS:
        write_weights(tmp_path / f"x{ending}", arrays)
    return {ending: tmp_path / f"x{ending}" for ending in ENDINGS}


def test_a_file_by_the_name_of_another_format_is_told_its_own(tmp_path):
    skip_without(".safetensors")
    skip_without(".pth")
    paths = _files(tmp_path)
    for ending, path in paths.items():
        for other in paths.keys() - {ending}:
            renamed = tmp_path / f"renamed{other}"
            renamed.write_bytes(path.read_bytes())
            name = ".pth" if ending == ".pth.tar" else ending
            with pytest.raises(UserError, match=rf"by its contents it is a {name} file: rename"):
                read_weights(renamed)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_file_cut_anywhere_is_refused_in_one_line(ending, tmp_path):
    skip_without(".safetensors")
    skip_without(".pth")
    path = _files(tmp_path)[ending]
    whole = path.read_bytes()
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match="Cannot read") as error:
            read_weights(path)
        assert "\n" not in str(error.value)


def test_endings_count_in_capitals_too(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.ones(2))
    (tmp_path / "a.npz").rename(tmp_path / "A.NPZ")
    np.testing.assert_array_equal(read_weights(tmp_path / "A.NPZ")["x"], [1, 1])


def test_a_checkpoint_of_something_else_is_refused(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(UserError, match="no PyTorch state dict"):
        read_weights(tmp_path / "list.pth")


def test_an_unknown_ending_and_a_missing_file_are_refused(tmp_path):
    with pytest.raises(MissingData, match=r"none\.npz"):
        read_weights(tmp_path / "none.npz")
    (tmp_path / "weights.bin").write_bytes(b"")
    with pytest.raises(UserError, match=r"known endings: \.npz"):
        read_weights(tmp_path / "weights.bin")


def test_weights_of_a_folded_or_headless_network_are_refused():
    net, _, _ = random_network(0)
    for other in (net.with_folded_batch_norm(), net.without_classifier()):
        with pytest.raises(UserError, match="Take the weights before that"):
            from_network(other)
