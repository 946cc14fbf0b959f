import json
import re
import sys
from html.parser import HTMLParser

import pytest

from deepmad_jax.errors import InvalidArchitecture, UserError
from deepmad_jax.report import canvas, write
from deepmad_jax.report.read import read, read_metrics

VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """Tags, attributes, and text of every element; fails on tags that do not match."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.stack, self.text = [], [], [], {}
        self.feed(text)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        if tag not in VOID:
            self.stack.append(tag)
            self.text.setdefault(tag, []).append("")

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if self.stack:
            self.text[self.stack[-1]][-1] += data


def parse(path):
    return Page(path.read_text(encoding="utf-8"))


def rename(workdir, name):
    path = workdir / "architecture.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"name": name}))


def test_report_and_pictures_are_written(report):
    assert report.name == "report.html"
    for name in ("network", "entropy", "convergence", "training"):
        assert (report.parent / f"{name}.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_page_is_self_contained(report):
    page = parse(report)
    assert not {"script", "link", "iframe", "object", "embed", "base"} & set(page.tags)
    for name, value in page.attributes:
        assert not re.search(r"https?:|//|@import|javascript:", value or ""), (name, value)
        assert not name.startswith("on")
        if name in ("href", "src", "xlink:href"):
            assert value.startswith("#")
    (css, *_) = page.text["style"]
    assert not re.search(r"url\(|@import|//", css)
    assert len(page.text["style"]) == 1


def test_ids_are_unique_and_every_reference_inside_the_page_is_met(report):
    page = parse(report)
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids)) > 100
    wanted = {value[1:] for name, value in page.attributes if name == "href"}
    for _, value in page.attributes:
        wanted |= set(re.findall(r"url\(#([^)]+)\)", value or ""))
    assert wanted
    assert wanted <= set(ids)


def test_page_shows_the_pictures_and_the_numbers(report):
    page = parse(report)
    assert page.tags.count("svg") == 4
    # Drawn, not empty: the network has 37 bars, and every picture has its text as glyphs.
    assert page.tags.count("path") > 200
    assert page.tags.count("use") > 300
    cells = page.text["td"]
    for number in ("11,672,112", "1,819,586,048", "64,095.74", "64,525.22", "99.85 %", "0.2986"):
        assert number in cells
    assert "82.50 %" in page.text["b"]


def test_pictures_follow_light_and_dark_mode(report):
    text = report.read_text(encoding="utf-8")
    assert "prefers-color-scheme: dark" in text
    body = text[text.index("<body>") :]
    for color, variable in canvas.CSS_VARIABLES.items():
        assert color not in body
        assert variable in body


def test_same_files_give_the_same_bytes(report, workdir):
    write(workdir)
    for name in ("report.html", "network.png", "entropy.png", "convergence.png", "training.png"):
        assert (workdir / name).read_bytes() == (report.parent / name).read_bytes()


@pytest.mark.parametrize(
    "name",
    ["<script>alert(1)</script>\"&'", "$title ${body} $", "a\u202eb\x00", "half \ud800 pair", ""],
)
def test_hostile_names_are_escaped(workdir, name):
    rename(workdir, name)
    (workdir / "design.json").unlink()  # for speed: fewer pictures
    (workdir / "metrics.jsonl").unlink()
    (workdir / "config.json").write_text(json.dumps({"name": name, "</pre><script>": name}))
    page = parse(write(workdir))
    assert "script" not in page.tags
    clean = "".join(c if c.isprintable() else "?" for c in name)
    assert page.text["h1"] == page.text["title"] == [clean]


def test_words_in_the_design_file_are_escaped(workdir):
    path = workdir / "design.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"convention": "<img src=x>"}))
    assert "img" not in parse(write(workdir)).tags


def test_architecture_alone_is_enough(workdir):
    for name in ("design.json", "metrics.jsonl", "config.json"):
        (workdir / name).unlink()
    page = parse(write(workdir))
    assert page.tags.count("svg") == 1
    assert "11,672,112" in page.text["td"]
    assert sorted(p.name for p in workdir.glob("*.png")) == ["network.png"]


def test_empty_metrics_leave_training_out(workdir):
    (workdir / "metrics.jsonl").write_text("")
    assert "Training" not in parse(write(workdir)).text["h2"]


def test_partial_line_of_a_killed_run_is_left_out_and_said(workdir):
    with open(workdir / "metrics.jsonl", "a") as file:
        file.write('{"split": "train", "st')
    page = parse(write(workdir))
    assert any("1 line of metrics.jsonl" in note for note in page.text["p"])
    assert page.tags.count("svg") == 4


def test_resumed_run_replaces_the_steps_it_repeats(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = [{"split": "train", "step": step, "loss": loss} for step, loss in ((10, 3), (20, 2))]
    again = [{"split": "train", "step": step, "loss": loss} for step, loss in ((20, 1), (30, 0))]
    broken = ['{"split": "train", "step": 3', "[1]", "null", '{"split": "test", "step": 1}']
    broken += ['{"split": "eval", "step": null}', '{"split": ["eval"], "step": 1}', "\ufffd"]
    path.write_text("\n".join([*map(json.dumps, lines), *broken, *map(json.dumps, again)]))
    metrics = read_metrics(path)
    assert [(e["step"], e["loss"]) for e in metrics.train] == [(10, 3), (20, 1), (30, 0)]
    assert metrics.evaluation == ()
    assert metrics.unreadable == len(broken)


def test_weights_are_found_in_the_config(workdir):
    config = {"design": {"alpha": [1.0, 1.0, 1.0, 1.0, 16.0]}}
    (workdir / "config.json").write_text(json.dumps(config))
    assert "112,289.48" in parse(write(workdir)).text["td"]  # 16 x 7018.09


def test_without_matplotlib_the_page_says_what_to_install(workdir, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    page = parse(write(workdir))
    assert "svg" not in page.tags
    assert any("pip install 'deepmad_jax[report]'" in note for note in page.text["p"])
    assert "11,672,112" in page.text["td"]
    assert not list(workdir.glob("*.png"))


def test_missing_architecture_is_one_clear_error(tmp_path):
    with pytest.raises(InvalidArchitecture, match=r"architecture\.json.*design job"):
        write(tmp_path)


@pytest.mark.parametrize("content", ["{", "[1]", "", "\x00"])
def test_broken_design_file_is_named(workdir, content):
    (workdir / "design.json").write_text(content)
    with pytest.raises(UserError, match=r"design\.json.*Delete it"):
        write(workdir)


@pytest.mark.parametrize("name", ["design.json", "metrics.jsonl"])
def test_what_cannot_be_opened_is_named(workdir, name):
    (workdir / name).unlink()
    (workdir / name).mkdir()
    with pytest.raises(UserError, match=rf"Cannot read .*{name}: Is a directory"):
        read(workdir)


def test_files_with_a_byte_order_mark_say_the_same(workdir):
    before = read(workdir)
    for path in workdir.iterdir():
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert read(workdir) == before
    (workdir / "design.json").write_bytes((workdir / "design.json").read_text().encode("utf-16"))
    with pytest.raises(UserError, match=r"design\.json is not JSON .*UTF-16"):
        read(workdir)
