"""The Sphinx extension of docs/: pages made from the code, equations as MathML, themed drawings.

A page may have a line `<!-- made from the code: NAME -->`, which GitHub does not show. When the
site is built, the line is replaced by the text that `MADE` has for NAME.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from pygments.lexers.shell import BashLexer
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

from tools.reference import commands, decisions, parameters, pipeline, python

ROOT = Path(__file__).parents[2]
MARK = re.compile(r"^<!-- made from the code: ([\w ]+) -->$", re.MULTILINE)
MADE: dict[str, Callable[[Path], str]] = {
    "commands": commands.page,
    "decisions": decisions.page,
    "interface": python.interface,
    "method": python.method,
    "outputs": pipeline.outputs_page,
    "parameters": parameters.page,
    "slurm": pipeline.slurm_table,
}


def setup(app: Sphinx) -> dict[str, Any]:
    """Register what this module adds."""
    app.connect("source-read", _fill_in)
    app.connect("autodoc-process-docstring", _escape, priority=400)  # before napoleon's
    app.connect("autodoc-skip-member", _skip_fields)
    app.connect("doctree-resolved", _embed_drawings)
    app.add_lexer("console", BashLexer)  # commands here have no prompt
    app.add_html_math_renderer("mathml", (_inline_math, None), (_math_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def filled_in(text: str, root: Path) -> str:
    """Replace the marks in a page's text by what is made from the code.

    Raises:
        ExtensionError: Nothing is made under such a name.
    """

    def made(mark: re.Match[str]) -> str:
        if mark[1] not in MADE:
            raise ExtensionError(f"{mark[0]}: nothing of that name; there are {', '.join(MADE)}")
        return MADE[mark[1]](root)

    return MARK.sub(made, text)


def _fill_in(_: Sphinx, page: str, source: list[str]) -> None:
    source[0] = filled_in(source[0], ROOT)


def _escape(*arguments: Any) -> None:
    """Make stars and bars literal: docstrings here are plain text, where they mark nothing."""
    lines = arguments[-1]
    lines[:] = [re.sub(r"(`[^`]+`)|([*|])", lambda f: f[1] or f"\\{f[2]}", line) for line in lines]


def _skip_fields(app: Sphinx, what: str, name: str, found: object, *_: Any) -> bool | None:
    """Leave out the fields of named tuples, which their class describes; None decides nothing."""
    return True if type(found).__name__ == "_tuplegetter" else None


def _embed_drawings(app: Sphinx, tree: nodes.document, _: str) -> None:
    """Embed SVG drawings in the page itself, where the theme's colours reach them."""
    for image in list(tree.findall(nodes.image)):
        if image["uri"].endswith(".svg"):
            text = Path(app.srcdir, image["uri"]).read_text(encoding="utf-8")
            frame = f'<div class="drawing">{text}</div>'
            image.replace_self(nodes.raw("", frame, format="html"))


def _inline_math(writer: Any, node: nodes.Element) -> None:
    writer.body.append(convert(node.astext()))
    raise nodes.SkipNode


def _math_block(writer: Any, node: nodes.Element) -> None:
    formula = convert(node.astext().strip(), display="block")
    writer.body.append(f'<div class="math">{formula}</div>\n')
    raise nodes.SkipNode
