"""Architectures named by one line of text."""

import pytest

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


def test_config_files_fail_where_they_name_nothing(tmp_path):
    with pytest.raises(InvalidArchitecture, match="did you mean 'deepmad_r50'"):
        published("deepmad_r5O")
    with pytest.raises(InvalidArchitecture, match="Cannot read"):
        from_file(tmp_path / "x.json")
