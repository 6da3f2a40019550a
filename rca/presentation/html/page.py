"""Pages from their templates; style sheet and pictures go inside."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape


def render(template: str = "report.html.j2", **content: Any) -> str:
    """A page as one HTML text that refers to nothing outside itself.

    Args:
        template: a file beside this module.
        **content: the template's variables; strings are escaped but for SVG and data URIs.
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
    """A number with its decimals; a dash for None."""
    return "–" if value is None else f"{value:.{decimals}f}"


def signed(value: float | None, decimals: int = 1) -> str:
    """A difference with its sign; a dash for None."""
    return (
        "–" if value is None else f"{round(value, decimals) + 0.0:+.{decimals}f}".replace("-", "−")
    )


def code(text: str) -> Markup:
    """Text as HTML, with what stands between backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))
