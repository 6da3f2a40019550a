"""Rows of cells as columns of plain text."""

from __future__ import annotations

import io
from collections.abc import Sequence

WIDE = 10_000  # characters: wider than any table, for what does not fit would be cut


def aligned(rows: Sequence[Sequence[str]], left: int = 1, indent: int = 0) -> str:
    """Set `rows` as columns two spaces apart, each as wide as its widest cell, nothing cut.

    It is the same text on a terminal, in a pipe and in a file.

    Args:
        rows: the cells, all rows of one length.
        left: the number of columns that are flush left; those after them are flush right.
        indent: the number of spaces before each row.
    """
    # Here, so that stages which print no table start as quickly as before.
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    for column in range(len(rows[0])):
        table.add_column(justify="left" if column < left else "right", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    page = io.StringIO()
    console = Console(file=page, width=WIDE, color_system=None, force_terminal=False)
    console.print(Padding(table, (0, 0, 0, indent), expand=False))
    return "\n".join(line.rstrip() for line in page.getvalue().splitlines())
