"""The report's page from its template; style sheet and pictures go inside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def render(**content: Any) -> str:
    """The page as one HTML text that refers to nothing outside itself.

    Args:
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
    return environment.get_template("report.html.j2").render(content)


def number(value: float | None, decimals: int = 1) -> str:
    """A number with its decimals; a dash for None."""
    return "–" if value is None else f"{value:.{decimals}f}"


def signed(value: float | None) -> str:
    """A difference with its sign; a dash for None."""
    return "–" if value is None else f"{value:+.1f}".replace("-", "−")
