"""Sphinx: the documentation as a site that needs no network. `make docs` builds it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # of tools.reference, and of this checkout's rca

project = "RCA"
html_title = "RCA"
copyright = "the contributors of this repository"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "tools.reference.site",
]
myst_enable_extensions = ["attrs_inline", "deflist", "dollarmath"]
myst_heading_anchors = 4
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_use_ivar = True  # as a list; fields of a named tuple would come twice
napoleon_use_rtype = False
napoleon_custom_sections = [("Rules", "params_style"), ("Updates", "params_style")]
default_role = "code"  # docstrings have `code` in single backticks

html_theme = "furo"
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_search_summary = False  # fetched page by page, which file:// forbids
html_copy_source = False
html_show_sphinx = False
html_use_index = False
html_domain_indices = False
