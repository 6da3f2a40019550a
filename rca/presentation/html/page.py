"""HTML pages, rendered from templates with style sheet and pictures embedded."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape


def render(template: str = "report.html.j2", **content: Any) -> str:
    """Render a page as one HTML text that refers to nothing outside itself.

    Args:
        template: the name of a file beside this module.
        **content: the template's variables; strings are escaped, except for SVG and data URIs.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    environment.filters["signed"] = signed
    environment.filters["code"] = code
    environment.filters["labelled"] = lambda name, names: (names.index(name), name)
    environment.filters["index_in"] = lambda name, names: names.index(name)
    environment.filters["pair"] = lambda row, value, text: (row[value], row[text])
    return environment.get_template(template).render(content)


def number(value: float | None, decimals: int = 1) -> str:
    """Format a number with its decimals; None as a dash."""
    return "–" if value is None else f"{value:.{decimals}f}"


def signed(value: float | None, decimals: int = 1) -> str:
    """Format a difference with its sign; None as a dash."""
    return (
        "–" if value is None else f"{round(value, decimals) + 0.0:+.{decimals}f}".replace("-", "−")
    )


def code(text: str) -> Markup:
    """Convert text to HTML, with what stands between backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))
