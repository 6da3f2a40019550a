"""What records of measurements share: their origin, and their tables in Markdown pages."""

from __future__ import annotations

import platform
import re
import subprocess
from pathlib import Path
from typing import Any

README = Path("README.md")


def origin() -> dict[str, Any]:
    """Collect the commit, versions and machine of the current measurement."""
    import torch

    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=True
    )
    return {
        "commit": commit.stdout.strip(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": platform.machine(),
    }


def peak_memory() -> float:
    """Return the peak memory of this process, in MB.

    Unlike `ru_maxrss`, it does not begin with the memory of the process that started this one.
    """
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6


def place_table(text: str, record: Path | str, table: str) -> str:
    """Return `text` with `table` between the marks of `record`; unchanged if it has none."""
    marks = rf"(<!-- table: {re.escape(str(record))} -->\n).*?(<!-- end of table -->)"
    return re.sub(marks, lambda found: found[1] + table + found[2], text, flags=re.DOTALL)
