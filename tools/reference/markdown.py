"""Pieces of Markdown that the pages of the reference are made of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def escaped(text: str) -> str:
    """Plain text with its `code` kept, and what else Markdown would read made literal."""
    parts = re.split(r"(`[^`]+`)", text)
    return "".join(
        part if number % 2 else re.sub(r"([<>*_\[\]|\\$])", r"\\\1", part)
        for number, part in enumerate(parts)
    )


def anchored(name: str, anchor: str) -> str:
    """A name as code, with an address of its own; dots are none that an address may hold."""
    return f"[`{name}`]{{#{anchor.replace('.', '-')}}}"


def definition(term: str, text: str) -> str:
    """An entry of a definition list."""
    return f"{term}\n: {' '.join(text.split())}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; a bar within a cell is escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines
    )
