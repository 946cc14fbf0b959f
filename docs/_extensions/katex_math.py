"""Math in the pages, drawn by the KaTeX that lies in ``_static/katex``: nothing from the network.

Sphinx's own renderers load their script from a server, or need LaTeX.
"""

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.math import get_node_equation_number


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers the renderer and its files."""
    app.add_html_math_renderer("katex", (_inline, None), (_display, None))
    app.add_css_file("katex/katex.min.css")
    for script in ("katex/katex.min.js", "katex/auto-render.min.js", "katex_start.js"):
        app.add_js_file(script)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _inline(writer: Any, node: nodes.math) -> None:
    writer.body.append(writer.starttag(node, "span", "", CLASS="math notranslate"))
    writer.body.append(rf"\({writer.encode(node.astext())}\)</span>")
    raise nodes.SkipNode


def _display(writer: Any, node: nodes.math_block) -> None:
    writer.body.append(writer.starttag(node, "div", CLASS="math notranslate"))
    if node["number"]:
        number = get_node_equation_number(writer, node)
        writer.body.append(f'<span class="eqno">({number})')
        writer.add_permalink_ref(node, "Link to this equation")
        writer.body.append("</span>")
    writer.body.append(rf"\[{writer.encode(node.astext())}\]</div>")
    raise nodes.SkipNode
