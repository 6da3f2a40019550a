"""What records of measurements share: their origin, and their tables in Markdown pages."""

from __future__ import annotations

import argparse
import platform
import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rca.presentation.result_files import read_json
from rca.runtime.files import write_json, write_text

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


def place_tables(page: Path, tables: Mapping[str, str]) -> None:
    """Write tables into a page, each between its marks."""
    text = page.read_text(encoding="utf-8")
    for mark, table in tables.items():
        text = place_table(text, mark, table)
    write_text(page, text)


def publish(
    description: str,
    record: Path,
    page: Path,
    measure: Callable[[], dict[str, Any]],
    tables: Callable[[dict[str, Any]], Mapping[str, str]],
) -> None:
    """Run a benchmark from the command line: measure and print, record, or only render its tables.

    Args:
        description: What `--help` prints.
        record: The JSON file of the record.
        page: The page of the documentation with its tables.
        measure: A function that makes the content of the record.
        tables: A function from that content to the tables in Markdown, by their marks in the page.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--record", action="store_true", help=f"write {record} and its tables")
    parser.add_argument("--render", action="store_true", help="only write the record's tables")
    options = parser.parse_args()
    if not options.render:
        content = measure()
        print(*tables(content).values(), sep="\n")
        if options.record:
            write_json(record, content)
    if options.render or options.record:
        place_tables(page, tables(read_json(record)))
