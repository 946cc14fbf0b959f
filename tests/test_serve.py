"""The live page: what it answers, whom it answers, and that it works in a browser."""

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest

import deepmad_jax as dm
from deepmad_jax import cli, serve
from deepmad_jax.cli import commands
from deepmad_jax.errors import UserError
from deepmad_jax.serve import server

uvicorn = pytest.importorskip("uvicorn")
pytest.importorskip("starlette")
pytest.importorskip("matplotlib")

ROOT = Path(__file__).parent.parent
SMALL = {
    "macs": "3M", "params": "30k", "rho": "0.2", "block": "basic", "resolution": "16",
    "classes": "10",
}  # fmt: skip


@pytest.fixture(scope="module")
def address():
    """Host and port of a live page, served by a thread as `serve.serve` serves it."""
    made, asked = [], threading.Event()

    class Server(uvicorn.Server):
        def __init__(self, config):
            super().__init__(config)
            made.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uvicorn, "Server", Server)
        found = []

        def ready(address):
            found.append(address)
            asked.set()

        thread = threading.Thread(target=serve.serve, kwargs={"port": 0, "ready": ready})
        thread.start()
        assert asked.wait(60)
        yield found[0].removeprefix("http://").removesuffix("/")
        made[0].should_exit = True
        thread.join(60)
        assert not thread.is_alive()


@pytest.fixture
def get(address):
    """Status, headers and body of an answer."""

    def ask(path, **headers):
        with contextlib.closing(http.client.HTTPConnection(address, timeout=300)) as connection:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read().decode()

    return ask


def test_a_design_is_the_librarys_with_its_picture_and_tables(get):
    status, _, body = get(f"/design?{urlencode(SMALL)}")
    found = json.loads(body)
    expected = dm.design(**SMALL)
    assert status == 200
    for name in ("objective", "macs", "params"):
        assert found[name] == expected.numbers[name]
    assert {"Layers", "Budgets", "Entropy, nats", "Design"} <= set(found["tables"])
    assert f"{expected.numbers['params']:,}" in found["tables"]["Budgets"]
    assert found["network"].startswith("<svg")


def test_a_point_of_more_params_has_no_smaller_objective(get):
    points = [
        json.loads(get(f"/point?{urlencode({**SMALL, 'params': params})}")[2])
        for params in ("15k", "30k", "60k")
    ]
    objectives = [point["objective"] for point in points]
    assert objectives == sorted(objectives)
    assert all(
        point["params"] <= most for point, most in zip(points, (15e3, 3e4, 6e4), strict=True)
    )


def test_a_point_that_no_network_meets_is_null(get):
    status, _, body = get(f"/point?{urlencode({**SMALL, 'params': '100'})}")
    assert status == 200
    assert json.loads(body)["objective"] is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"macs": "3Q"}, "macs is '3Q', but must be a number"),
        ({"params": "100"}, "No network"),
        ({"block": "basik"}, "did you mean 'basic'"),
        ({"latency_table": "/etc/passwd"}, "The page has no field 'latency_table'"),
    ],
)
def test_a_refusal_says_why(get, change, words):
    status, _, body = get(f"/design?{urlencode({**SMALL, **change})}")
    assert status == 422
    assert words in json.loads(body)["error"]


def test_the_page_loads_its_own_files_alone(get):
    status, headers, body = get("/")
    assert status == 200
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    loaded = re.findall(r'(?:src|href)="([^"]+)"', body)
    assert loaded == ["data:,", "page.css", "page.js"]
    for name in loaded[1:]:
        assert get(f"/{name}")[0] == 200
    assert get("/app.py")[0] == get("/../pyproject.toml")[0] == 404


def test_a_foreign_page_whose_name_points_here_gets_no_answer(get):
    assert get("/", Host="evil.example")[0] == 400
    assert get("/", Host="localhost:8517")[0] == 200


def test_it_is_served_to_this_machine_unless_told_otherwise(address):
    assert address.startswith("127.0.0.1:")
    assert not server.is_local("0.0.0.0")
    assert not server.is_local("somewhere.example")
    (option,) = (one for one in commands.serve.params if one.name == "host")
    assert server.is_local(option.default)


def test_a_port_that_is_taken_is_refused(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"Cannot serve at 127.0.0.1, port {port}"):
            server.listen("127.0.0.1", port)
        assert cli.main(["serve", "--no-open", "--port", str(port)]) == 2
    assert cli.main(["serve", "--no-open", "--port", "70000"]) == 2
    assert "Give another --port" in capsys.readouterr().err


def test_an_interrupt_ends_the_command_as_it_should():
    code = "from deepmad_jax.cli import console; raise SystemExit(console())"
    command = [sys.executable, "-c", code, "serve", "--no-open", "--port", "0"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as running:
        address = urlsplit(running.stdout.readline().split()[5]).netloc
        with contextlib.closing(http.client.HTTPConnection(address, timeout=300)) as connection:
            connection.request("GET", "/")
            assert connection.getresponse().status == 200
        running.send_signal(signal.SIGINT)
        assert running.wait(300) == 0


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api")
    # A sandbox of Chromium's needs a user other than root.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with api.sync_playwright() as playwright:
        names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
        paths = (playwright.chromium.executable_path, *names)
        path = next(filter(None, map(shutil.which, paths)), None)
        if path is None:
            pytest.skip(
                "no Chromium or Chrome here: apt-get install chromium, or playwright install"
            )
        started = playwright.chromium.launch(executable_path=path, args=arguments)
        yield started
        started.close()


@pytest.fixture
def page(browser, address):
    page = browser.new_page()
    page.set_default_timeout(240_000)  # of a machine with much else to do
    wrong = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    page.goto(f"http://{address}/#{urlencode(SMALL)}")
    shown(page, SMALL)
    yield page
    page.close()
    # What was refused is a failed request to the browser; the page says why.
    assert [text for text in wrong if "422" not in text] == []


def shown(page, fields, part="shown"):
    page.wait_for_function(
        "([part, wanted]) => document.body.dataset[part] === wanted",
        arg=[part, urlencode(fields)],
    )


@pytest.mark.slow
def test_in_a_browser_a_slider_redesigns_and_redraws(page):
    assert page.locator("#network svg").count() == 1
    drawn, before = page.inner_html("#network"), page.inner_text("#Budgets")
    assert "30,000" in before
    page.locator("#params-slider").focus()
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    now = {**SMALL, "params": page.input_value("#params")}
    assert now["params"] != SMALL["params"]
    shown(page, now)
    assert page.inner_html("#network") != drawn
    expected = dm.design(**now)
    assert f"{expected.numbers['params']:,}" in page.inner_text("#Budgets")
    assert "Designed and drawn in" in page.inner_text("#status")
    assert page.inner_text("#command").startswith("deepmad design --macs 3M --params ")


@pytest.mark.slow
def test_in_a_browser_the_points_around_the_design_are_drawn(page):
    shown(page, SMALL, "around")
    assert page.locator("#frontier circle.here").count() == 2
    for name in ("macs", "params"):
        # Of six multiples a small budget may not allow all.
        assert 3 <= page.locator(f"#frontier circle.{name}").count() <= 6


@pytest.mark.slow
def test_in_a_browser_a_refused_budget_is_explained_and_mended(page):
    page.fill("#params", "100")
    page.press("#params", "Enter")
    page.wait_for_selector("#status.refused")
    assert "No network" in page.inner_text("#status")
    page.fill("#params", "40k")
    page.press("#params", "Enter")
    shown(page, {**SMALL, "params": "40k"})
    assert "Designed" in page.inner_text("#status")


@pytest.mark.slow
def test_the_slider_and_the_text_beside_it_say_the_same(page):
    page.fill("#params", "3M")
    page.press("#params", "Enter")
    # The logarithm's place between 50k and 200M, of 1000.
    assert page.input_value("#params-slider") == "494"
