"""The summary of a run: its scores, and where its files are."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rca.config import ConfigError


def summary(results: Path) -> str:
    """Summarise a run: its scores, the report's address, the masks, and what to do next.

    Raises:
        ConfigError: the run has not been evaluated.
    """
    from rca.presentation.console import text_table

    file = results / "evaluate" / "metrics.json"
    if not file.is_file():
        raise ConfigError(f"{file}: no such file; run the pipeline first: snakemake --cores all")
    lines = [text_table(json.loads(file.read_text(encoding="utf-8")))]
    pages = [results / stage / "report.html" for stage in ("report", "track")]
    # The page of `track` also names commit and machine, but may be left over from an earlier run.
    if made := [page for page in pages if page.is_file()]:
        latest = max(made, key=lambda page: page.stat().st_mtime_ns)
        lines.append(f"Report: {latest.resolve().as_uri()}")
    masks = [(results / "infer_seg", "validation images"), (results / "crf", "training images")]
    if there := [f"{folder}/ ({of})" for folder, of in masks if folder.is_dir()]:
        lines.append(f"Masks:  {', '.join(there)}")
    if (results / "train_seg").is_dir():
        command = f"{_program()} predict PHOTOGRAPHS --weights {results} --out FOLDER"
        lines.append(f"Next:   {command}")
    return "\n".join(lines)


def _program() -> str:
    """Return how the user's shell calls this program, even if no environment is activated."""
    program = Path(sys.prefix, "bin", "rca")
    return str(program.relative_to(Path.cwd())) if program.is_relative_to(Path.cwd()) else "rca"
