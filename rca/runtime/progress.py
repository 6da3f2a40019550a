"""How far work is: a bar on a terminal, plain lines in a log, events for an engine."""

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

    On a terminal that is a bar, which goes when they are done; elsewhere the log has count, share
    and time left about `every` seconds, and a line at the end.

    Args:
        items: whatever is worked on.
        total: the sum of their weights.
        what: the name of the items, for bar and log.
        every: the seconds between two lines.
        weigh: the function from an item to how many it counts for.
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
    """Yield `chunks`, the bytes from `start` on of a `total`, shown as by `progress`."""

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
    """Show how much is done, wherever this process is looked at.

    Args:
        what: the name of the items.
        start: the amount done before.
        total: the amount when all is done.
        every: the seconds between two lines.
        count: the function from an amount to its text.
        whole: the text of the total.
    """
    if not log.isEnabledFor(logging.INFO):  # the first of several processes speaks for all
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
    """A function that is given how much is done and says so, neither in each step."""
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
    """`75` → `1 min 15 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
