"""Architectures named by one line of text."""

import pytest

from deepmad_jax.arch import tinynas
from deepmad_jax.arch.reference import from_file, published, resolve
from deepmad_jax.arch.zoo import zoo
from deepmad_jax.errors import InvalidArchitecture


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "resnet50"  # named like a published network
    path.write_text(zoo("deepmad_29m").to_json())
    return path


def test_a_name_stands_for_the_published_network():
    assert resolve(published("deepmad_r50")) == zoo("deepmad_r50")


def test_changes_travel_with_the_name():
    text = published("resnet56", classes=100, resolution=40)
    assert resolve(text) == zoo("resnet56", classes=100, resolution=40)


def test_a_file_is_no_network_of_its_name(file, monkeypatch):
    monkeypatch.chdir(file.parent)
    assert resolve(from_file("resnet50")) == zoo("deepmad_29m")
    assert resolve("resnet50") == zoo("resnet50")
    assert resolve(from_file(file)) == zoo("deepmad_29m")
    assert resolve(f"{file}:classes=7") == zoo("deepmad_29m", classes=7)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("resnet_50", "no published network 'resnet_50'; did you mean 'resnet50'?"),
        ("nowhere/architecture.json", "Cannot read the architecture file nowhere"),
        ("does/not/exist", "Cannot read the architecture file does/not/exist: No such file"),
        ("does/not/exist.pth", "Cannot read the architecture file does/not/exist.pth: No such"),
        ("exist.safetensors", "Cannot read the architecture file exist.safetensors: No such"),
        ("nets/structure.txt", "Cannot read nets/structure.txt: No such file"),
        ("~/no_such_folder_here/x", "no_such_folder_here/x: No such file"),
        (r"C:\nets\net.json", r"Cannot read the architecture file C:\nets\net.json: No such"),
        ("resnet50.a1_in1k", "no published network 'resnet50.a1_in1k'; did you mean 'resnet50'?"),
        ("resnet50:classes=ten", "classes is 'ten', but must be an integer"),
        ("resnet50:clases=10", "did you mean 'classes'"),
        ("resnet50:classes", "no published network 'resnet50:classes'"),
        ("", "no published network ''"),
    ],
)
def test_a_bad_reference_says_what_is_wrong(text, words):
    with pytest.raises(InvalidArchitecture) as error:
        resolve(text)
    assert words in str(error.value)


def test_a_structure_file_and_a_runs_folder_are_references_too(tmp_path):
    arch = zoo("deepmad_r18")
    (tmp_path / "net.txt").write_text(tinynas.to_text(arch))
    (tmp_path / "architecture.json").write_text(arch.to_json())
    assert resolve(f"{tmp_path / 'net.txt'}:classes=7").classes == 7
    assert resolve(f"{tmp_path / 'net.txt'}").stages == arch.stages
    assert resolve(str(tmp_path)) == arch


def test_the_home_folder_may_be_written_as_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "net.json").write_text(zoo("resnet20").to_json())
    assert resolve("~/net.json") == zoo("resnet20")
    assert resolve(from_file("~/net.json")) == zoo("resnet20")


def test_a_file_of_weights_is_no_architecture(tmp_path):
    (tmp_path / "net.pth").write_bytes(b"")
    with pytest.raises(InvalidArchitecture, match=r"net\.pth is no architecture by its name"):
        resolve(str(tmp_path / "net.pth"))


def test_config_files_fail_where_they_name_nothing(tmp_path):
    with pytest.raises(InvalidArchitecture, match="did you mean 'deepmad_r50'"):
        published("deepmad_r5O")
    with pytest.raises(InvalidArchitecture, match="Cannot read"):
        from_file(tmp_path / "x.json")
