"""What the live page asks for: a design with its pictures, and points of the frontier around it.

    GET /design?macs=1.8G&params=11.7M&rho=0.3     the network, drawn and in tables
    GET /point?macs=0.9G&params=11.7M&rho=0.3      objective and use of a quick design

Both take the fields in `FIELDS`, written as on a command line. A refusal has status 422 and says
why in ``error``. Designs are made one at a time: each uses all cores for a fraction of a second.
"""

import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from deepmad_jax.design import Design, Problem, design_network
from deepmad_jax.design.studies.sweep import solve_row
from deepmad_jax.errors import InvalidConfig, UserError, did_you_mean
from deepmad_jax.library import problem_of
from deepmad_jax.report import canvas, network, tables
from deepmad_jax.report.table import to_html

FIELDS = ("macs", "params", "rho", "block", "resolution", "classes")
"""Fields of a problem that the page sets; no path is among them."""

KINDS = {"page.html": "text/html", "page.js": "text/javascript", "page.css": "text/css"}

HEADERS = {
    # What the page may load and do; drawings set their colours by style attributes.
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; "
    "style-src 'self' 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}

_KEPT = 256  # of the latest answers; a slider that goes back is answered at once
_ONE_AT_A_TIME = threading.Lock()


def app(allowed_hosts: Sequence[str]) -> Starlette:
    """The application.

    Args:
        allowed_hosts: names by which it may be asked for; "*" for any. Otherwise a web page on
            another server could have its own name point here and read the answers.
    """
    routes = [
        Route("/", functools.partial(_file, "page.html")),
        Route("/page.js", functools.partial(_file, "page.js")),
        Route("/page.css", functools.partial(_file, "page.css")),
        Route("/design", functools.partial(_answer, design)),
        Route("/point", functools.partial(_answer, point)),
    ]
    guard = Middleware(TrustedHostMiddleware, allowed_hosts=list(allowed_hosts))
    return Starlette(routes=routes, middleware=[guard])


def design(fields: Mapping[str, str]) -> dict[str, Any]:
    """The designed network for the page: ``network`` as SVG, ``tables`` as HTML, its numbers."""
    found = _designed(_problem(fields))
    numbers = found.to_dict()
    with canvas.style("network"):
        figure = network.draw(found.architecture)
        drawn = canvas.to_svg(figure, "network", "The network to scale")
    made = tables.tables(found.architecture, numbers)
    return {
        "network": drawn,
        "tables": {table.title: to_html(table) for table in made},
        "objective": numbers["objective"],
        "macs": numbers["macs"],
        "params": numbers["params"],
        "seconds": found.seconds,
    }


def point(fields: Mapping[str, str]) -> dict[str, Any]:
    """Objective, macs and params of a quick design; None where no network meets the budgets."""
    row = _quickly(_problem(fields))
    return {name: row[name] for name in ("objective", "macs", "params")}


def _problem(fields: Mapping[str, str]) -> Problem:
    for name in fields:
        if name not in FIELDS:
            raise InvalidConfig(f"The page has no field {name!r}; {did_you_mean(name, FIELDS)}")
    return problem_of(**fields)


@functools.lru_cache(_KEPT)
def _designed(problem: Problem) -> Design:
    with _ONE_AT_A_TIME:
        return design_network(problem)


@functools.lru_cache(_KEPT)
def _quickly(problem: Problem) -> dict[str, Any]:
    with _ONE_AT_A_TIME:
        return solve_row(problem)


def _answer(make: Callable[[Mapping[str, str]], dict[str, Any]], request: Request) -> Response:
    # Not a coroutine: it is run in a thread, and the page itself is served meanwhile.
    try:
        return JSONResponse(make(dict(request.query_params)), headers=HEADERS)
    except UserError as error:
        return JSONResponse({"error": str(error)}, status_code=422, headers=HEADERS)


def _file(name: str, request: Request) -> Response:
    text = resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
    return Response(text, media_type=KINDS[name], headers=HEADERS)
