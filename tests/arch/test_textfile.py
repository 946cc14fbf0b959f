"""Text files as editors on any system save them."""

import json

import pytest

from deepmad_jax.arch import Architecture, Stage, Stem, tinynas
from deepmad_jax.errors import InvalidArchitecture

TINY = Architecture("größe", 16, 3, 4, Stem(4), (Stage("k1kx", 6, 4, 3, 2, 2),))
JSON = json.dumps(TINY.to_dict(), indent=1, ensure_ascii=False)
STRUCTURE = tinynas.to_text(TINY)


def loaded(path):
    if path.suffix == ".json":
        return Architecture.load(path)
    return tinynas.load(path, name=TINY.name, resolution=16, classes=4)


@pytest.mark.parametrize(("name", "text"), [("a.json", JSON), ("a.txt", STRUCTURE)])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["no mark", "byte order mark"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"], ids=["lf", "crlf", "cr"])
def test_byte_order_mark_and_line_ends_change_nothing(name, text, mark, ending, tmp_path):
    path = tmp_path / name
    path.write_bytes(mark + text.replace("\n", ending).encode())
    assert loaded(path) == TINY


def test_text_that_was_read_elsewhere_may_begin_with_the_mark():
    assert Architecture.from_json("\ufeff" + JSON) == TINY
    assert tinynas.from_text("\ufeff" + STRUCTURE, TINY.name, 16, 4) == TINY


def test_a_line_is_counted_alike_whatever_ends_it(tmp_path):
    path = tmp_path / "a.txt"
    broken = STRUCTURE.replace("'k': 3", "'k': 4").replace("},", "},\n\n")
    said = []
    for ending in ("\n", "\r\n", "\r"):
        path.write_bytes(broken.replace("\n", ending).encode("utf-8-sig"))
        with pytest.raises(InvalidArchitecture, match=r"line \d") as error:
            loaded(path)
        said.append(str(error.value))
    assert len(set(said)) == 1


@pytest.mark.parametrize("name", ["a.json", "a.txt"])
@pytest.mark.parametrize(
    ("contents", "words"),
    [
        (JSON.encode("utf-16"), "text in UTF-16"),
        (JSON.encode("utf-16-le"), "text in UTF-16"),
        (JSON.encode("utf-16-be"), "text in UTF-16"),
        (JSON.encode("utf-32"), "text in UTF-16 or UTF-32"),
        (JSON.encode("latin-1"), r"no text in UTF-8: byte \d+ is 0xf6"),
        (b"\x89PNG\r\n\x1a\n", "no text in UTF-8: byte 1 is 0x89"),
        (b"", "is empty"),
        (b"\xef\xbb\xbf \n", "is empty|not JSON|no Python literal"),
        (b"<!DOCTYPE html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
    ],
)
def test_what_is_no_text_in_utf_8_is_told_for_what_it_is(name, contents, words, tmp_path):
    path = tmp_path / name
    path.write_bytes(contents)
    with pytest.raises(InvalidArchitecture, match=rf"{name}: .*({words})"):
        loaded(path)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"name": ' + "1" * 5000 + "}", "", "{"])
def test_json_that_breaks_its_reader_is_refused(text):
    with pytest.raises(InvalidArchitecture, match="This is not JSON"):
        Architecture.from_json(text)
