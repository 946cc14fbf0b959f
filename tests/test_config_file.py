"""Config files that go wrong: each says in which file and line, and what Python said."""

import math
import os
import re

import pytest

from deepmad_jax.config import file, override, to_config
from deepmad_jax.config.load import parse
from deepmad_jax.errors import InvalidConfig

IMPORTS = (
    "from deepmad_jax.config import Config, default_config, published\n"
    "from ml_collections import ConfigDict, FrozenConfigDict, config_dict\n"
)


def config_with(line):
    body = f"    config = default_config()\n    {line}\n    return config\n"
    return f"{IMPORTS}def get_config():\n{body}"


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a config file in the current folder; returns its name."""
    monkeypatch.chdir(tmp_path)

    def of(text, name="c.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return name

    return of


def refusal(reference):
    with pytest.raises(InvalidConfig) as error:
        to_config(file.load(reference))
    return str(error.value)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("x = undefined", "NameError: name 'undefined' is not defined"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("from deepmad_jax.config import no_such", "ImportError: cannot import name 'no_such'"),
        ("config.design.macs = 1 / 0", "ZeroDivisionError: division by zero"),
        ("open('/no/such/file')", r"FileNotFoundError: .*'/no/such/file'"),
        ("assert 1 > 2", r"AssertionError\."),
        ("assert 1 > 2, 'why'", "AssertionError: why"),
        ("{}['k']", "KeyError: 'k'"),
        ("[][1]", "IndexError: list index out of range"),
        ("None.x", "AttributeError: 'NoneType' object has no attribute 'x'"),
        ("config.design.macs += 'G'", "TypeError: "),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("raise StopIteration", r"StopIteration\."),
        ("raise ExceptionGroup('many', [OSError()])", "ExceptionGroup: many"),
        ("(f := lambda: f())()", "RecursionError: maximum recursion depth exceeded"),
        ("config.design.kernals = (3,)", "there is no field 'kernals'; did you mean 'kernels'"),
        ("config.design.zzzz = 3", "there is no field 'zzzz'; see --help"),
        ("config['desing'] = 3", "there is no field 'desing'; did you mean 'design'"),
        ("config.design.macz", "there is no field 'macz'; did you mean 'macs'"),
        ("config.update({'train': {'epoch': 3}})", "there is no field 'epoch'; did you mean 'epo"),
        ("published('resnet5')", "There is no published network 'resnet5'; did you mean"),
    ],
)
def test_an_error_in_get_config_is_told_with_its_line(write, line, said):
    message = refusal(write(config_with(line)))
    assert re.match(rf"In c\.py, line 5 \({re.escape(line)}\): {said}", message), message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import no_such_module\n", "line 1 (import no_such_module): ModuleNotFoundError: "),
        ("x = 1\nraise SystemExit\n", "line 2 (raise SystemExit): SystemExit."),
        ("\ndef get_config(:\n", "line 2 (def get_config(:): SyntaxError: invalid syntax"),
        ("def f():\nx = 1\n", "line 2 (x = 1): IndentationError: expected an indented block"),
        ("x = " + "(" * 300, "SyntaxError: too many nested parentheses"),
        (b"x = 1\ny = '\xe9'\n", "line 2: SyntaxError: (unicode error) 'utf-8' codec can't"),
        (b"x = 1\n\0\n", "line 2: there is a null byte"),
        ("x = 1\n".encode("utf-16"), "line 1: there is a null byte"),
    ],
)
def test_a_file_that_python_cannot_run_is_told_with_its_line(write, text, said):
    message = refusal(write(text))
    assert message.startswith("In c.py")
    assert said in message


def test_the_line_is_the_users_deepest_one(write):
    text = f"{IMPORTS}def helper():\n    published('x y')\n\ndef get_config():\n    helper()\n"
    assert refusal(write(text)).startswith("In c.py, line 4 (published('x y')): There is no")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "c.py defines no function get_config()"),
        ("get_config = 3", "get_config in c.py is 3, but must be a function"),
        ("def get_config(a, b): pass", "get_config(a, b) in c.py must be callable without"),
        ("def get_config(variant): pass", "get_config(variant) in c.py must be callable without"),
        ("def get_config(*, a): pass", "get_config(*, a) in c.py must be callable without"),
        ("def get_config(): pass", "returned None, but must return the default_config()"),
        ("def get_config(): return 3", "returned 3, but must return the default_config()"),
        ("def get_config(): yield", "returned <generator object"),
        ("async def get_config(): pass", "returned <coroutine object"),
        ("def get_config(): return {3: 4}", "config has no field 3"),
        (
            "def get_config(): return {'nmae': 'x'}",
            "config has no field 'nmae'; did you mean 'name'",
        ),
    ],
)
def test_a_get_config_that_gives_no_config_is_refused(write, text, said):
    assert said in refusal(write(text))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("config.design.macs = object()", "config.design.macs is <object object at"),
        ("config.design.macs = None", "config.design.macs is None, but must be a number"),
        ("config.train.weight_decay = -1", "config.train.weight_decay is -1.0, but must be"),
        ("config.train.learning_rate = float('nan')", "config.train.learning_rate is nan, but"),
        ("config.design.strides = 'a'", "config.design.strides holds 'a', but"),
        ("config.jobs = ('desing',)", "config.jobs holds 'desing'; did you mean 'design'"),
        ("config.design = None", "config.design must be a group of fields, not None"),
        ("config.design = config", "config.design.design is a group that holds itself"),
        (
            "config.design.macs = config_dict.required_placeholder(float)",
            "config.design.macs has no value",
        ),
        (
            "ref = config.get_ref('certify_seconds'); config.design.macs = 1 / (ref - 60)",
            "ZeroDivisionError",
        ),
    ],
)
def test_a_bad_value_is_named_by_its_field(write, line, said):
    assert said in refusal(write(config_with(line)))


@pytest.mark.parametrize(
    "returned",
    [
        "{'name': 'mine', 'design': {'macs': '1G'}}",
        "ConfigDict({'name': 'mine', 'design': {'macs': 1000000000}})",
        "FrozenConfigDict({'name': 'mine', 'design': {'macs': 1e9}})",
        "Config(name='mine', design=Config().design.__class__(macs=1e9))",
    ],
)
def test_get_config_may_return_any_form_of_a_config(write, returned):
    values = file.load(write(f"{IMPORTS}def get_config(): return {returned}"))
    override(values, "design.params", "1.5M")
    override(values, "train.epochs", "99.5")
    config = to_config(values)
    assert (config.name, config.design.macs, config.design.params) == ("mine", 1e9, 1.5e6)
    assert config.train.epochs == 99.5


@pytest.mark.parametrize(
    "line",
    [
        "config.design.macs = config_dict.required_placeholder(float)",
        "config.design.params = config.design.get_ref('macs') / 100",
    ],
)
def test_a_value_left_open_or_computed_follows_the_command_line(write, line):
    values = file.load(write(config_with(line)))
    override(values, "design.macs", "1.8G")
    design = to_config(values).design
    assert (design.macs, design.params) == (1.8e9, 1.8e7 if "params" in line else math.inf)


def test_a_group_that_is_none_cannot_be_set_into(write):
    values = file.load(write(config_with("config.design = None")))
    with pytest.raises(
        InvalidConfig, match=r"config\.design is None, so that config\.design\.macs"
    ):
        override(values, "design.macs", "1")


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbf" + config_with("config.name = 'mine'").encode(),
        b"# coding: latin-1\n# \xe9\n" + config_with("config.name = 'mine'").encode(),
        config_with("config.name = 'mine'").replace("\n", "\r\n").encode(),
    ],
    ids=["byte order mark", "coding", "Windows"],
)
def test_a_file_as_other_editors_write_it_is_read(write, text):
    assert to_config(file.load(write(text))).name == "mine"


@pytest.mark.parametrize("name", ["C:\\x.py", "a:b.py", "runs/12:30/c.py", "x.py:y.py"])
@pytest.mark.parametrize("variant", ["", "quick", "a:b"])
def test_a_colon_in_the_path_is_no_variant(write, name, variant):
    text = config_with("pass").replace("get_config()", "get_config(variant='')")
    write(text.replace("pass", "config.name = 'mine' + variant"), name)
    reference = f"{name}:{variant}" if variant else name
    assert to_config(file.load(reference)).name == f"mine{variant}"


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("there", "There is no config file there; did you mean there.py?"),
        ("sub.c", "There is no config file sub.c; did you mean sub/c.py?"),
        ("nowhere.py:quick", "There is no config file nowhere.py; the project's own"),
        ("12:30/nowhere.py", "There is no config file 12:30/nowhere.py; the project's own"),
        (":", "There is no config file :; the project's own"),
        ("x" * 300 + ".py", "There is no config file xxx"),
        ("nul\0.py", "There is no config file nul"),
        ("sub", "The config sub is a folder; name one of its files: c.py."),
        ("sub/folder.py", "The config sub/folder.py is a folder; name a .py file."),
        ("a.json", "The config a.json is no Python file; give a .py file"),
        ("config.json", "a run's config.json only records what the run was made with"),
        ("~no-such-user/c.py", "home directory of 'no-such-user'"),
        ("there.py:v", "there.py has no variants; leave out ':v'"),
    ],
)
def test_what_is_no_config_file_says_what_to_give(write, tmp_path, reference, said):
    write(config_with("pass"), "there.py")
    write("", "sub/c.py")
    write("{}", "a.json")
    write("{}", "config.json")
    (tmp_path / "sub/folder.py").mkdir()
    assert said in refusal(reference)


def test_a_file_that_cannot_be_read_is_refused(write, tmp_path):
    name = write("x = 1\n")
    (tmp_path / name).chmod(0)
    if os.access(name, os.R_OK):
        pytest.skip("this user may read everything")
    assert refusal(name) == "Cannot read the config file c.py: Permission denied."


def test_the_home_directory_is_found_in_config_and_workdir(write, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write(config_with("config.name = 'mine'"))
    config, workdir = parse(["main", "--config=~/c.py", "--workdir=~/run"])
    assert (config.name, workdir) == ("mine", tmp_path / "run")
