"""How Sphinx builds these pages: ``make docs``, warnings are errors, nothing from the network."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_extensions"), str(HERE.parent)]

import deepmad_jax  # noqa: E402

project = "deepmad_jax"
author = copyright = "The deepmad_jax authors"
version = release = deepmad_jax.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
extensions += ["katex_math", "plain_docstrings"]
exclude_patterns = ["_build", "_static"]

myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3

# The docstrings name things of ours in single backticks.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 88
add_module_names = False
napoleon_use_ivar = True
napoleon_use_rtype = False
napoleon_custom_sections = ["Source"]

html_theme = "furo"
html_title = "deepmad_jax"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_math_renderer = "katex"
html_show_sphinx = False
html_copy_source = False
