"""Progress bars on the terminal that this process writes its log to.

One `rich.progress.Progress` draws all active bars, below the log. If stderr is not a terminal,
nothing is drawn and rich is not imported.
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
    """Return whether to draw bars; otherwise, progress is logged as lines."""
    return not _forbidden and (_drawn is not None or sys.stderr.isatty())


def forbid() -> None:
    """Draw no bars in this process."""
    global _forbidden
    _forbidden = True


@contextmanager
def bar(what: str, total: int) -> Iterator[Callable[[int, str], None]]:
    """Draw a bar, and yield a function that updates it from the amount done, and this as text.

    Args:
        what: the name of the items, which is the bar's title.
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
    """Remove the bars and restore the terminal, as before a last message."""
    global _drawn
    if _drawn is not None:
        _drawn.stop()
        _drawn = None


def columns() -> tuple:
    """Return the columns of a bar, here and where an engine draws the bars of many stages."""
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
    atexit.register(clear)  # also after Ctrl-C, since bars hide the cursor
    return started
