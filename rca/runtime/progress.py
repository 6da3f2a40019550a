"""Progress of work: a bar on a terminal, plain lines in a log, events for an engine."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rca.runtime.bars import bar, on_terminal
from rca.runtime.events import tell

T = TypeVar("T")
log = logging.getLogger(__name__)

OFTEN = 0.5  # seconds between two events


def progress(
    items: Iterable[T],
    total: int,
    what: str,
    every: float = 5.0,
    weigh: Callable[[T], int] = lambda _item: 1,
) -> Iterator[T]:
    """Yield `items` and show how many are done.

    On a terminal, this is a bar that disappears when all are done. Elsewhere, a line with count,
    percentage and time left is logged about every `every` seconds, and another at the end.

    Args:
        items: the items to work on.
        total: the sum of the items' weights.
        what: the name of the items, for bar and log.
        every: the seconds between two lines in the log.
        weigh: the function from an item to its weight.
    """
    with _shown(what, 0, total, every, lambda done: f"{done}/{total}", str(total)) as show:
        done = 0
        for item in items:
            yield item
            done += weigh(item)
            show(done)


def byte_progress(
    chunks: Iterable[bytes], start: int, total: int, what: str, every: float = 5.0
) -> Iterator[bytes]:
    """Yield `chunks`, the bytes from `start` on of `total`, and show how many are done."""

    def count(done: int) -> str:
        return f"{done / 1e6:.0f} of {total / 1e6:.0f} MB"

    with _shown(what, start, total, every, count, f"{total / 1e6:.0f} MB") as show:
        done = start
        for chunk in chunks:
            yield chunk
            done += len(chunk)
            show(done)


@contextmanager
def _shown(
    what: str, start: int, total: int, every: float, count: Callable[[int], str], whole: str
) -> Iterator[Callable[[int], None]]:
    """Yield a function that shows the amount done: on a bar, or in the log and to an engine.

    Args:
        what: the name of the items.
        start: the amount that was done before.
        total: the amount when all is done.
        every: the seconds between two lines in the log.
        count: the function from an amount to its text.
        whole: the text of the total.
    """
    if not log.isEnabledFor(logging.INFO):  # of several processes, only rank 0 reports
        yield lambda _done: None
    elif on_terminal():
        with bar(what, total) as draw:
            draw(start, count(start))
            yield lambda done: draw(done, count(done))
    else:
        begun = time.monotonic()
        tell(bar=what, done=start, total=total, count=count(start))
        yield _teller(what, start, total, every, count)
        log.info("%s %s done in %s", what, whole, span(time.monotonic() - begun))


def _teller(
    what: str, start: int, total: int, every: float, count: Callable[[int], str]
) -> Callable[[int], None]:
    """Return a function that reports the amount done to engine and log, but not at every call."""
    begun = said = told = time.monotonic()

    def say(done: int) -> None:
        nonlocal said, told
        now = time.monotonic()
        if now - told >= OFTEN or done >= total:
            tell(bar=what, done=done, total=total, count=count(done))
            told = now
        if now - said >= every and done < total:
            left = (now - begun) / max(done - start, 1) * (total - done)
            percent = 100 * done // total
            log.info("%s %s (%d %%), %s left", what, count(done), percent, span(left))
            said = now

    return say


def span(seconds: float) -> str:
    """Format a duration: `75` → `1 min 15 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
