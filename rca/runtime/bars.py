"""Bars on the terminal that this process writes its log to.

One `Progress` of rich's draws all that are under way, below the log. Where stderr is no terminal
nothing is drawn, and rich is not imported.
"""

from __future__ import annotations

import atexit
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

_drawn: Progress | None = None
_forbidden = False


def on_terminal() -> bool:
    """Whether there are bars to be drawn, or lines to be written."""
    return not _forbidden and (_drawn is not None or sys.stderr.isatty())


def forbid() -> None:
    """Draw no bars in this process."""
    global _forbidden
    _forbidden = True


@contextmanager
def bar(what: str, total: int) -> Iterator[Callable[[int, str], None]]:
    """Draw a bar; it is given how much is done, and the same as text.

    Args:
        what: the items, as the bar is titled.
        total: the amount at which the bar is full.
    """
    global _drawn
    bars = _drawn = _start() if _drawn is None else _drawn
    task = bars.add_task(what, total=total, count="")
    try:
        yield lambda done, count: bars.update(task, completed=done, count=count)
    finally:
        bars.remove_task(task)
        if not bars.tasks:
            clear()


def clear() -> None:
    """Take the bars away and give the terminal back, as before a last message."""
    global _drawn
    if _drawn is not None:
        _drawn.stop()
        _drawn = None


def columns() -> tuple:
    """What a bar consists of, here and where an engine draws those of many stages."""
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

    return (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[count]}"),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
    )


def _start() -> Progress:
    from rich.console import Console
    from rich.progress import Progress

    started = Progress(*columns(), console=Console(stderr=True), transient=True)
    started.start()
    atexit.register(clear)  # also after Ctrl-C: the cursor is hidden meanwhile
    return started
