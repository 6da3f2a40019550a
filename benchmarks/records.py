"""What records of measurements share: where they come from, and their tables in the README."""

from __future__ import annotations

import platform
import re
import subprocess
from pathlib import Path
from typing import Any

README = Path("README.md")


def origin() -> dict[str, Any]:
    """Commit, versions and machine of a measurement that is made now."""
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


def place_table(text: str, record: Path | str, table: str) -> str:
    """`text` with `table` between the marks of `record`, or as it is where it has none."""
    marks = rf"(<!-- table: {re.escape(str(record))} -->\n).*?(<!-- end of table -->)"
    return re.sub(marks, lambda found: found[1] + table + found[2], text, flags=re.DOTALL)
