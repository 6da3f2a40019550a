"""Progress that reads well both on a terminal and in a log file."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
log = logging.getLogger(__name__)


def progress(
    items: Iterable[T],
    total: int,
    what: str,
    every: float = 5.0,
    weigh: Callable[[T], int] = lambda _item: 1,
) -> Iterator[T]:
    """Yield `items`, logging count, share and time left about `every` seconds and at the end.

    Args:
        items: whatever is worked on.
        total: the sum of their weights.
        what: they are, for the log.
        every: seconds between two lines.
        weigh: item → how many it counts for.
    """
    start = last = time.monotonic()
    done = 0
    for item in items:
        yield item
        done += weigh(item)
        now = time.monotonic()
        if now - last >= every and done < total:
            left = (now - start) / done * (total - done)
            log.info(
                "%s %d/%d (%d %%), %s left", what, done, total, 100 * done // total, span(left)
            )
            last = now
    log.info("%s %d done in %s", what, total, span(time.monotonic() - start))


def byte_progress(
    chunks: Iterable[bytes], start: int, total: int, what: str, every: float = 5.0
) -> Iterator[bytes]:
    """Yield `chunks`, the bytes from `start` on of a `total`, logging as `progress` does."""
    begun = last = time.monotonic()
    done = start
    for chunk in chunks:
        yield chunk
        done += len(chunk)
        now = time.monotonic()
        if now - last >= every and done < total:
            rate = (done - start) / (now - begun)
            log.info(
                "%s %.0f of %.0f MB (%d %%), %.1f MB/s, %s left",
                *(what, done / 1e6, total / 1e6, 100 * done // total, rate / 1e6),
                span((total - done) / rate),
            )
            last = now
    log.info("%s %.0f of %.0f MB", what, done / 1e6, total / 1e6)


def span(seconds: float) -> str:
    """`75` → `1 min 15 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
