"""`rca`: one verb per stage of the pipeline, and a few to look after it.

`dvc.yaml` calls these verbs; each can as well be run by hand. Torch and MLflow are imported inside
the verbs that need them, so that `rca --help` is quick.
"""

from __future__ import annotations

import errno
import os
import re
import sys

# Each adds its verbs to the app.
from rca.cli import (
    compare,
    data,
    export,
    figures,
    masks,
    predict,
    register,
    stages,
    tools,
)
from rca.cli.app import app
from rca.config import ConfigError
from rca.runtime.bars import clear

KEPT = "then run again: what is done is kept"
DISK = {
    errno.ENOSPC: f"make room, {KEPT}",
    errno.EDQUOT: f"make room within your quota, {KEPT}",
    errno.EFBIG: f"the file system or a limit forbids files of that size; lift it, {KEPT}",
    errno.EROFS: f"write elsewhere, or mount it for writing, {KEPT}",
    errno.EACCES: f"give yourself the right to read and write there, {KEPT}",
    errno.EPERM: f"give yourself the right to read and write there, {KEPT}",
}
# What torch, oneDNN, the allocator for CUDA and the system say.
NO_MEMORY = re.compile(
    r"(can't|cannot) (allocate memory|start new thread)|out of memory|bad_alloc|"
    "could not create a (primitive|memory)",
    re.IGNORECASE,
)
__all__ = [
    "app", "compare", "data", "export", "figures", "main", "masks", "predict", "register", "stages",
    "tools",
]  # fmt: skip


def main() -> None:
    """Run `rca`; an error that the user can fix is one message and exit status 2, no traceback."""
    try:
        app()
    except Exception as error:
        message = str(error) if isinstance(error, _mendable()) else _of_the_machine(error)
        clear()  # the bars, which would come after it
        if message is None:
            raise
        print(f"rca: {message}", file=sys.stderr)
        sys.exit(2)


def _mendable() -> tuple[type[Exception], ...]:
    """Return the types of errors whose message says what to do."""
    from rca.data.images import DataError
    from rca.runtime.pool import WorkerError

    return ConfigError, DataError, WorkerError, FloatingPointError


def _of_the_machine(error: BaseException | None) -> str | None:
    """Explain an error from a full or protected disk, or full memory; None for other errors."""
    while error is not None:
        if isinstance(error, MemoryError) or NO_MEMORY.search(str(error)):
            reason = " ".join(str(error).split())[:200] or "of Python"
            return (
                f"not enough memory ({reason}); end other programs, or lower the section's "
                f"batch_size, size, scales, memory_mb or processes, {KEPT}"
            )
        number = error.errno if isinstance(error, OSError) else _number_in(str(error))
        if number in DISK:
            where = getattr(error, "filename", None) or "the disk"
            return f"{where}: {os.strerror(number).lower()}; {DISK[number]}"
        error = error.__cause__ or error.__context__
    return None


def _number_in(text: str) -> int | None:
    """Find the error number that safetensors, torch or SQLite report in words."""
    if found := re.search(r"\(os error (\d+)\)", text):
        return int(found[1])
    # torch writes through C++ streams, which do not tell why: a full disk, as a rule.
    if "inline_container.cc" in text or "disk is full" in text:
        return errno.ENOSPC
    return errno.EROFS if "readonly database" in text else None
