"""TinyNAS structure files: what is read, what is written, and what every refusal says."""

import ast
import dataclasses
import pprint

import pytest

from deepmad_jax.arch import Architecture, Stage, Stem, tinynas
from deepmad_jax.arch.zoo import zoo
from deepmad_jax.errors import InvalidArchitecture
from tests.facts import PUBLISHED

published = pytest.mark.parametrize("fact", PUBLISHED, ids=lambda fact: fact["name"])

STEM = "{'class': 'ConvKXBNRELU', 'in': 3, 'out': 8, 's': 2, 'k': 3}"
STAGE = "{'class': 'SuperResKXKX', 'in': 8, 'out': 16, 's': 2, 'k': 3, 'L': 2, 'btn': 12}"
FINAL = "{'class': 'ConvKXBNRELU', 'in': 16, 'out': 40, 's': 1, 'k': 1}"


def read(text):
    return tinynas.from_text(text, "net", 64, 10)


def file_of(*entries):
    """A bare structure of one entry a line, from line 2."""
    return "[\n" + ",\n".join(entries) + "\n]\n"


def without_inner_class(structure):
    return [{k: v for k, v in entry.items() if k != "inner_class"} for entry in structure]


@published
@pytest.mark.parametrize("layout", ["one entry a line", "one key a line", "alone", "compact"])
def test_a_published_file_reads_as_its_structure_in_any_layout(fact, layout):
    structure = fact["structure"]
    contents = {"best_structures": [structure], "space_arch": "CnnNet"}
    text = {
        "one entry a line": "{ 'best_structures':[ [ \n"
        + ",\n".join(str(entry) for entry in structure)
        + "]],\n'space_arch': 'CnnNet'}     \n\n",
        "one key a line": pprint.pformat(contents, indent=2, width=20),
        "alone": "\n  " + pprint.pformat(structure, width=40),
        "compact": str(contents),
    }[layout]
    arch = tinynas.from_text(text, fact["name"], fact["resolution"], 1000)
    assert arch == tinynas.from_structure(structure, fact["name"], fact["resolution"], 1000)
    assert tinynas.to_structure(arch) == without_inner_class(structure)


@published
def test_writing_and_reading_is_the_identity(fact, tmp_path):
    arch = tinynas.from_structure(fact["structure"], fact["name"], fact["resolution"], 1000)
    path = tmp_path / f"{fact['name']}.txt"
    path.write_text(tinynas.to_text(arch))
    back = tinynas.load(path, resolution=fact["resolution"])
    assert back == arch
    assert tinynas.to_text(back) == path.read_text()


def test_what_is_written_is_what_the_released_code_takes_apart():
    # Its loader: literal_eval of the whole text, then space_arch and best_structures[0], in which
    # every block needs class, in, out, k and, inside a stage, L and btn.
    arch = read(file_of(STEM, STAGE, FINAL))
    contents = ast.literal_eval(tinynas.to_text(arch))
    assert contents["space_arch"] == "CnnNet"
    stem, stage, final = contents["best_structures"][0]
    assert stem == ast.literal_eval(STEM)
    assert stage == ast.literal_eval(STAGE)
    assert final == ast.literal_eval(FINAL)


def test_one_of_several_structures_is_chosen_by_number(tmp_path):
    path = tmp_path / "two.txt"
    other = STAGE.replace("'L': 2", "'L': 5")
    path.write_text(f"{{'best_structures': [[{STEM}, {STAGE}], [{STEM}, {other}]]}}")
    assert tinynas.load(path).stages[0].depth == 2
    assert tinynas.load(path, index=1).stages[0].depth == 5
    with pytest.raises(InvalidArchitecture, match=r"two.txt: line 1: .* number 2"):
        tinynas.load(path, index=2)


def test_keys_that_restate_the_default_and_names_of_old_releases_are_read():
    plain = read(file_of(STEM, STAGE))
    assert read(file_of(STEM, STAGE.replace("}", ", 'p': 1, 'act': 'relu', 'g': 1}"))) == plain
    assert read(file_of(STEM, STAGE.replace("KXKX'", "KXKX', 'inner_class': 'ResKXKX'"))) == plain
    assert read(file_of(STEM, STAGE.replace("SuperRes", "SuperResConv"))) == plain
    one = read(file_of(STEM, STAGE.replace("'s': 2, ", "")))
    assert one.stages[0].stride == 1


def test_groups_go_in_and_out_where_the_released_code_means_the_same():
    arch = read(file_of(STEM, STAGE.replace("}", ", 'g': 4}")))
    assert arch.stages[0].groups == 4
    assert read(tinynas.to_text(arch)) == arch


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        (
            [STEM, STAGE.replace("KXKX", "KXKY")],
            r"line 3 \(entry 2\).*'SuperResKXKY'.*did you mean",
        ),
        ([STEM, "{'class': 'SuperQuantResK1DWK1'}"], r"line 3 .*'SuperQuantResK1DWK1'"),
        ([STEM.replace("Conv", "Conv3D")], r"line 2 .*'Conv3DKXBNRELU'"),
        ([STEM, STAGE.replace("}", ",\n 'nbitsA': [5, 5]}")], r"line 4 .*'nbitsA'.*quantised"),
        ([STEM, STAGE.replace("'btn': 12", "'bnt': 12")], r"line 3 .*'bnt'; did you mean 'btn'"),
        ([STEM, STAGE.replace(", 'L': 2", "")], r"line 3 .*lacks 'L'"),
        ([STEM, STAGE.replace("'in': 8", "\n'in': 9")], r"line 4 .*takes 9 .*gives 8"),
        ([STEM, STAGE.replace("'k': 3", "'k': 4")], r"line 3 .*only odd kernels"),
        ([STEM, STAGE.replace("'L': 2", "'L': 0")], r"line 3 .*depth .*at least 1, not 0"),
        ([STEM, STAGE.replace("'L': 2", "'L': -2")], r"line 3 .*depth .*at least 1, not -2"),
        ([STEM, STAGE.replace("}", ", 'p': 0}")], r"line 3 .*'p' is 0, .*1 here"),
        ([STEM, STAGE.replace("}", ", 'act': 'swish'}")], r"line 3 .*'act' is 'swish', .*'relu'"),
        ([STEM, STAGE.replace("KXKX", "K1KX").replace("}", ", 'g': 2}")], r"line 3 .*1x1 convs"),
        ([STEM, STAGE.replace("}", ", 'L': 3}")], "line 3: the key 'L' is given twice"),
        ([STEM, STAGE, FINAL.replace("'k': 1", "'k': 3")], r"line 4 .*'k' of the last"),
        ([STEM, FINAL, STAGE], r"line 3 .*first or last"),
        ([STAGE], r"line 2 .*starts with a ConvKXBNRELU"),
        ([STEM.replace("'in': 3", "'in': [3]")], r"line 2 .*integer .*not \[3\]"),
        ([STEM], "at least one stage"),
        (["8"], "Entry 1 .* is 8, not a dict"),
        ([STEM.replace("3, 'out'", "3 'out'")], "line 2: no Python literal"),
        ([STEM.replace("3}", "open('x')}")], r"line 2: .*open\('x'\).* is no literal"),
        (["{3: 4}"], "line 2: a key must be a string"),
    ],
)
def test_a_malformed_file_is_refused_with_the_line_and_the_reason(entries, words):
    with pytest.raises(InvalidArchitecture, match=f"(?s){words}"):
        read(file_of(*entries))


def test_another_space_and_a_missing_list_are_refused():
    good = file_of(STEM, STAGE)
    with pytest.raises(InvalidArchitecture, match=r"line 7: .*'Cnn3DNet'"):
        read(f"{{'best_structures': [\n{good}],\n'space_arch': 'Cnn3DNet'}}")
    with pytest.raises(InvalidArchitecture, match="lacks 'best_structures'"):
        read("{'space_arch': 'CnnNet'}")


def test_nothing_in_a_file_is_executed(tmp_path):
    mark = tmp_path / "mark"
    with pytest.raises(InvalidArchitecture, match="no literal"):
        read(f"[__import__('pathlib').Path({str(mark)!r}).touch()]")
    assert not mark.exists()


def test_a_file_nested_without_end_is_refused():
    with pytest.raises(InvalidArchitecture):
        read("[" * 100_000)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InvalidArchitecture, match=r"nowhere\.txt"):
        tinynas.load(tmp_path / "nowhere.txt")


@pytest.mark.parametrize("block", ["bottleneck", "k1kx"])
def test_groups_the_released_code_does_otherwise_are_not_written(block):
    arch = Architecture("g", 32, 3, 10, Stem(8), (Stage(block, 8, 8, 3, 1, 1, groups=2),))
    with pytest.raises(InvalidArchitecture, match=r"Stage 1.*2 groups"):
        tinynas.to_text(arch)


def test_a_network_of_other_parts_is_refused_in_one_error():
    with pytest.raises(InvalidArchitecture) as error:
        tinynas.to_text(zoo("convnext_t"))
    assert str(error.value).startswith(
        "convnext_t has convnext blocks, a patch stem, a LayerNorm in the head, which the "
        "released TinyNAS code does not have; its blocks are basic, k1kx,"
    )


# Each would be read back as another network.
@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"stem": Stem(8, 3, 2, "max_pool")}, "a max_pool stem"),
        ({"activation": "silu"}, "silu activations"),
        ({"head_norm": True}, "a LayerNorm in the head"),
    ],
)
def test_designed_blocks_among_other_parts_are_not_written(change, named):
    arch = Architecture("g", 32, 3, 10, Stem(8), (Stage("basic", 8, 8, 3, 1, 1),))
    with pytest.raises(InvalidArchitecture, match=f"g has {named}, which"):
        tinynas.to_text(dataclasses.replace(arch, **change))
