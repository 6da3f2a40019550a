"""The pieces of Markdown that the pages of the reference are made of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def escaped(text: str) -> str:
    """Escape what Markdown would interpret in plain text, but keep its `code`."""
    parts = re.split(r"(`[^`]+`)", text)
    return "".join(
        part if number % 2 else re.sub(r"([<>*_\[\]|\\$])", r"\\\1", part)
        for number, part in enumerate(parts)
    )


def anchored(name: str, anchor: str) -> str:
    """Format a name as code with an anchor of its own, in which dots become hyphens."""
    return f"[`{name}`]{{#{anchor.replace('.', '-')}}}"


def definition(term: str, text: str) -> str:
    """Format an entry of a definition list."""
    return f"{term}\n: {' '.join(text.split())}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Format a table; a bar within a cell is escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines
    )
