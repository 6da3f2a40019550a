"""Work on many images shared out over processes, which those who call hand over.

The parts of `rca` do not know each other; stages pass `rca.runtime.pool.ordered_map`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

# (work, (name, item) pairs, processes) → results in order; processes 0 takes every core
Spread = Callable[[Callable[[Any], Any], Iterable[tuple[str, Any]], int], Iterator[Any]]

FEW = 500  # images, which one process has done before others have started


def processes_for(images: int, most: int = 0) -> int:
    """How many processes: one for a few images, else `most`, where 0 is every core."""
    return 1 if images < FEW else most
