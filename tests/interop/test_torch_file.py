"""PyTorch files as training scripts write them, and everything that is none."""

import argparse
import gzip
import os
import pathlib
import pickle
import tarfile
import zipfile

import numpy as np
import pytest

from deepmad_jax.arch.reference import WEIGHTS
from deepmad_jax.errors import UserError
from deepmad_jax.interop import read_weights
from deepmad_jax.interop.files import FORMATS

torch = pytest.importorskip("torch")

EXPECTED = {"fc_linear.weight": np.arange(6.0).reshape(2, 3), "fc_linear.bias": np.array([7, 8])}


def state(prefix="", factor=1.0):
    return {
        prefix + key: torch.tensor(value * factor, dtype=torch.float32)
        for key, value in EXPECTED.items()
    }


def trainer():
    """What a training script holds besides its network, after a step."""
    network = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9)
    network(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.SequentialLR(
        optimizer,
        [
            torch.optim.lr_scheduler.LinearLR(optimizer),
            torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 5),
        ],
        [3],
    )
    scaler = torch.amp.GradScaler("cpu").state_dict()
    return optimizer.state_dict(), scheduler.state_dict(), scaler


def timms(**more):
    optimizer, _, scaler = trainer()
    args = argparse.Namespace(lr=0.8, mean=(0.5, 0.5), seed=None, output=pathlib.Path("out"))
    return {
        **{"epoch": 3, "arch": "r18", "state_dict": state(), "optimizer": optimizer, "version": 2},
        **{"args": args, "amp_scaler": scaler, "metric": np.float64(77.5)},
        **more,
    }


def torchvisions(**more):
    optimizer, scheduler, scaler = trainer()
    args = argparse.Namespace(device=torch.device("cpu"), history=np.ones(3), data_path="/data")
    return {
        **{"model": state(), "optimizer": optimizer, "lr_scheduler": scheduler, "epoch": 3},
        **{"args": args, "scaler": scaler},
        **more,
    }


class Averaged(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc_linear = torch.nn.Linear(3, 2)


def averages():
    """The state of PyTorch's own averages: keys under "module." and a count beside them."""
    network = Averaged()
    network.load_state_dict(state())
    return torch.optim.swa_utils.AveragedModel(network).state_dict()


LAYOUTS = {
    "plain": state,
    "released TinyNAS code": lambda: {"epoch": 3, "top1": 0.7, "state_dict": state()},
    "several devices": lambda: {"state_dict": state("module.")},
    "compiled": lambda: {"model": state("_orig_mod.")},
    "compiled, several devices": lambda: {"model": state("module._orig_mod.")},
    "Lightning": lambda: {"state_dict": state("model."), "loops": {}, "hyper_parameters": {}},
    "net": lambda: {"net": state(), "acc": 93.5, "epoch": 3},
    "nested": lambda: {"model": {"state_dict": state(), "config": {}}},
    "timm": timms,
    "timm, averages": lambda: timms(state_dict=state(factor=2), state_dict_ema=state()),
    "torchvision": torchvisions,
    "torchvision, averages": lambda: torchvisions(model=state(factor=2), model_ema=averages()),
    "averages switched off": lambda: torchvisions(model_ema=None),
    "parameters": lambda: {k: torch.nn.Parameter(v) for k, v in state().items()},
    "sparse": lambda: {k: v.to_sparse() for k, v in state().items()},
}


@pytest.mark.parametrize("new", [True, False], ids=["zip", "before 1.6"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_weights_of_any_training_script_are_found(layout, new, tmp_path):
    path = tmp_path / "checkpoint.pth"
    torch.save(LAYOUTS[layout](), path, _use_new_zipfile_serialization=new)
    read = read_weights(path)
    assert read.keys() == EXPECTED.keys()
    for key, value in EXPECTED.items():
        assert read[key].dtype == np.float32
        np.testing.assert_array_equal(read[key], value)


def test_a_key_chooses_the_weights_where_averages_lie_beside(tmp_path):
    torch.save(torchvisions(model_ema=averages(), model=state(factor=2)), tmp_path / "both.pth")
    for key, factor in ((None, 1), ("model_ema", 1), ("model", 2)):
        read = read_weights(tmp_path / "both.pth", key)
        np.testing.assert_array_equal(read["fc_linear.bias"], factor * EXPECTED["fc_linear.bias"])


def test_a_key_that_leads_to_no_weights_is_refused(tmp_path):
    torch.save(torchvisions(), tmp_path / "it.pth")
    with pytest.raises(UserError, match=r"no entry 'ema': it holds 'model', 'optimizer', 'lr_"):
        read_weights(tmp_path / "it.pth", "ema")
    with pytest.raises(UserError, match="no tensors by key under 'args'"):
        read_weights(tmp_path / "it.pth", "args")
    np.savez(tmp_path / "it.npz", a=np.zeros(1))
    with pytest.raises(UserError, match="only a PyTorch file has entries"):
        read_weights(tmp_path / "it.npz", "model")


def test_what_this_module_lists_as_files_of_weights_is_what_is_read():
    assert tuple(FORMATS) == WEIGHTS


class _Runs:
    """Unpickling this makes a folder."""

    def __init__(self, call, path):
        self.call, self.path = call, path

    def __reduce__(self):
        return self.call, (self.path,)


@pytest.mark.parametrize("place", ["args", "state_dict", "beside a Namespace"])
@pytest.mark.parametrize(
    ("call", "name"), [(os.mkdir, "posix.mkdir"), (eval, "eval"), (pathlib.Path.mkdir, "getattr")]
)
def test_a_file_that_would_run_something_is_refused_and_runs_nothing(place, call, name, tmp_path):
    mark, path = tmp_path / "mark", tmp_path / "evil.pth"
    evil = _Runs(call, f"__import__('os').mkdir({str(mark)!r})" if call is eval else str(mark))
    contents = (
        timms()
        | {
            "args": {"args": evil},
            "state_dict": {"state_dict": evil},
            "beside a Namespace": {"args": argparse.Namespace(x=evil)},
        }[place]
    )
    torch.save(contents, path)
    with pytest.raises(UserError, match=f"evil.pth: it asks to run {name} on being") as error:
        read_weights(path)
    assert not mark.exists()
    said = str(error.value)
    assert len(said) < 400
    assert "weights_only" not in said
    assert "\x1b" not in said


def corrupted(kind, path):
    """A file that is no checkpoint of PyTorch's."""
    torch.save(timms(), path)
    whole = path.read_bytes()
    torch.save(timms(), path, _use_new_zipfile_serialization=False)
    old = path.read_bytes()
    if kind == "script":
        script = torch.jit.script(torch.nn.Linear(3, 2))
        script.save(str(path))
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("inside/model.pth", whole)
    elif kind == "tar":
        with path.open("wb") as file, tarfile.open(fileobj=file, mode="w") as tar:
            tar.addfile(tarfile.TarInfo("model.pth"))
    elif kind == "npz":
        with path.open("wb") as file:
            np.savez(file, a=np.zeros(3))
    elif kind == "pickle":
        path.write_bytes(pickle.dumps({"a": [1.0]}, protocol=4))
    elif kind == "protocol 4":
        torch.save(state(), path, pickle_protocol=4)
    elif kind == "meta":
        torch.save({"a": torch.zeros(3, device="meta")}, path)
    else:
        path.write_bytes(
            {
                "empty": b"",
                "page": b"\n<!DOCTYPE html>\n<html>404</html>",
                "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
                "cut": whole[: len(whole) // 2],
                "old, cut in the tensors": old[:-20],
                "old, cut in a name": old[: old.index(b"Namespace") + 4],
                "old, cut in a module": old[: old.index(b"argparse") + 4],
                "noise": np.random.default_rng(0).bytes(5000),
                "nothing": bytes(5000),
                "text": b"hello\n",
                "gzip": gzip.compress(whole),
            }[kind]
        )


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("empty", "it is empty"),
        ("page", "a web page, as a failed download leaves it"),
        ("lfs", "a pointer of Git LFS"),
        ("cut", "no whole PyTorch checkpoint"),
        ("old, cut in the tensors", "no whole PyTorch checkpoint"),
        ("old, cut in a name", "no whole PyTorch checkpoint"),
        ("old, cut in a module", "no whole PyTorch checkpoint"),
        ("noise", "no whole PyTorch checkpoint"),
        ("nothing", "no whole PyTorch checkpoint"),
        ("text", "no whole PyTorch checkpoint"),
        ("script", "a TorchScript program, not weights"),
        ("zip", "a zip archive of other files"),
        ("tar", "a tar archive"),
        ("gzip", "compressed by gzip"),
        ("npz", "by its contents it is a .npz file"),
        ("pickle", "another protocol"),
        ("protocol 4", "another protocol"),
        ("meta", "the shapes of weights only"),
    ],
)
def test_a_file_that_is_no_checkpoint_is_told_for_what_it_is(kind, words, tmp_path):
    path = tmp_path / "model.pth"
    corrupted(kind, path)
    with pytest.raises(UserError, match=words) as error:
        read_weights(path)
    said = str(error.value)
    assert said.startswith((f"Cannot read {path}: ", f"{path} holds "))
    assert "\n" not in said
    assert "\x1b" not in said
    assert len(said) < 350 + len(str(path))


def test_a_checkpoint_cut_anywhere_is_refused_in_one_line(tmp_path):
    path = tmp_path / "cut.pth"
    for new in (True, False):
        torch.save(timms(), path, _use_new_zipfile_serialization=new)
        whole = path.read_bytes()
        for length in range(1, len(whole), len(whole) // 40):
            path.write_bytes(whole[:length])
            with pytest.raises(UserError, match=r"cut\.pth") as error:
                read_weights(path)
            assert "\n" not in str(error.value)
            assert "asks to run" not in str(error.value)
