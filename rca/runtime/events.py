"""What a process tells the engine that started it, which shows it while other processes run.

A job's own output goes to its log, on a cluster on another machine. The engine names a file that
both see in `RCA_EVENTS`; each event is one line of JSON at its end.
"""

from __future__ import annotations

import json
import logging
import os
from contextlib import suppress
from typing import Any

VARIABLE = "RCA_EVENTS"
RESULT = 25  # level of the one line that says what a stage made: above INFO, below WARNING


def tell(**event: Any) -> None:
    """Append an event, if an engine listens; what is only shown must not fail a stage."""
    if file := os.environ.get(VARIABLE):
        with suppress(OSError), open(file, "a", encoding="utf-8") as events:
            events.write(json.dumps(event) + "\n")


class Listener(logging.Handler):
    """Tell of each record from `RESULT` on: what a stage made, and its warnings."""

    def __init__(self) -> None:
        super().__init__(RESULT)

    def emit(self, record: logging.LogRecord) -> None:
        """Tell of one record."""
        tell(level=record.levelno, said=record.getMessage())
