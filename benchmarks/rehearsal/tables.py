"""The record of the rehearsals, and the record as tables: on the terminal and in the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks.rehearsal.growth import COMMANDS, at, growth
from rca.runtime.text_table import aligned
from tools.checkout import ROOT

PAGE = Path("docs/explanation/size.md")
RECORD = Path("benchmarks/results/rehearsal.json")
MILLION = 1_000_000
UNSEEN = "–"
SETTING = ("classes", "shards", "slurm", "cores", "machine", "seed")
TITLES = {
    "noop_snakemake": "`snakemake`, nothing to do",
    "dvc_status": "`dvc status`",
    "doctor": "`rca data doctor`",
}
PROTOCOL = (
    "fabricated crops of the embedded photographs, 96 to 160 px; preset debug with one epoch, "
    "MobileNetV2 at 64 px; every stage through Snakemake; time, CPU and memory of a job with all "
    "processes below it, DVC's included, seen from /proc every 0.2 s, less often where a look "
    "takes long; memory is the largest job's"
)

Row = tuple[str, ...]


def record(runs: Sequence[Mapping[str, Any]], begun: Mapping[str, Any]) -> dict[str, Any]:
    """Build the record: the protocol, every size, and the growth over those that are alike."""
    ordered = sorted(runs, key=lambda run: run["images"])
    return {"protocol": PROTOCOL, **begun, "runs": ordered, "growth": growth(alike(ordered))}


def alike(runs: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the most runs that differ in their images alone; of equally many, the larger ones."""
    groups: dict[tuple, list[Mapping[str, Any]]] = {}
    for run in runs:
        groups.setdefault(tuple(run.get(key) for key in SETTING), []).append(run)
    return max(groups.values(), key=lambda group: (len(group), group[-1]["images"]))


def run_rows(content: Mapping[str, Any]) -> list[Row]:
    """Set out each run: its size, and what the books of DVC and Snakemake take.

    A dash stands for the whole of a run that was resumed, of which only the last part was timed.
    """
    rows: list[Row] = [
        ("images", "classes", "whole run, s (CPU)",
            *(f"{title}, s (CPU)" for title in TITLES.values()),
         "`dvc.lock`, kB", "metadata, files", "disk, MB")
    ]  # fmt: skip
    for run in content["runs"]:
        books = run["books"]
        rows.append(
            (
                f"{run['images']:,} + {run['images_val']:,}",
                str(run["classes"]),
                UNSEEN if run.get("resumed") else _time(run["snakemake"]),
                *(_time(books[name]) for name in COMMANDS),
                f"{books['dvc_lock_bytes'] / 1000:,.0f}",
                f"{books['metadata']['files']:,}",
                f"{sum(part['megabytes'] for part in books['disk'].values()):,.0f}",
            )
        )
    return rows


def _time(taken: Mapping[str, float]) -> str:
    return f"{taken['wall_s']:,.0f} ({taken['cpu_s']:,.1f})"


def stage_rows(content: Mapping[str, Any]) -> list[Row]:
    """Set out each stage of the largest run: time, memory, files, and how they grow."""
    fits, asked = content["growth"], requests()
    rows: list[Row] = [
        ("stage", "time, s", "CPU, s", "memory, MB", "Slurm request, MB", "files", "MB",
         "CPU ~ n^", "memory ~ n^")
    ]  # fmt: skip
    for stage, seen in content["runs"][-1]["stages"].items():
        fit = fits.get(stage, {})
        rows.append(
            (
                f"`{stage}`",
                f"{seen['wall_s']:,.0f}",
                f"{seen['cpu_s']:,.0f}",
                f"{seen['peak_mb']:,.0f}",
                asked.get(stage.partition("@")[0], ""),
                f"{seen['files']:,}",
                f"{seen['megabytes']:,.1f}",
                *(_exponent(fit.get(measure)) for measure in ("cpu_s", "peak_mb")),
            )
        )
    return rows


def _exponent(fit: Mapping[str, Any] | None) -> str:
    return "" if fit is None or fit["exponent"] is None else f"{fit['exponent']:.2f}"


def requests() -> dict[str, str]:
    """Read the MB that dvc.yaml has each stage ask of Slurm; other stages are left out."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    metas = {name: stage.get("do", stage).get("meta", {}) for name, stage in stages.items()}
    return {name: f"{meta['slurm']['mem_mb']:,}" for name, meta in metas.items() if meta}


def estimate_rows(content: Mapping[str, Any], images: int = MILLION) -> list[Row]:
    """Set out what each stage takes at `images`: its fixed cost and its cost per image.

    A dash stands where the measured sizes show no growth.
    """
    rows: list[Row] = [("stage", "CPU an image, ms", "CPU, h", "memory, GB", "files", "GB")]
    for name, fits in content["growth"].items():
        cpu, memory, files, written = (
            at(fits.get(measure), images) for measure in ("cpu_s", "peak_mb", "files", "megabytes")
        )
        each = None if cpu is None else fits["cpu_s"]["line"]["each"]
        rows.append(
            (
                TITLES.get(name, f"`{name}`"),
                _number(each, 1 / 1000, ".1f"),
                _number(cpu, 3600, ",.1f"),
                _number(memory, 1000, ",.1f"),
                _number(files, 1, ",.0f"),
                _number(written, 1000, ",.1f"),
            )
        )
    return rows


def _number(value: float | None, unit: float, how: str) -> str:
    return UNSEEN if value is None else format(value / unit, how)


def markdown(rows: Sequence[Row]) -> str:
    """Render rows, the first of which is the header, as a Markdown table."""
    header, *others = (f"| {' | '.join(row)} |" for row in rows)
    marks = "|---|" + "---:|" * (len(rows[0]) - 1)
    return "\n".join([header, marks, *others]) + "\n"


def page_tables(content: Mapping[str, Any]) -> dict[str, str]:
    """Return the tables of the page by the marks that they stand between."""
    return {
        f"{RECORD}#runs": markdown(run_rows(content)),
        f"{RECORD}#stages": markdown(stage_rows(content)),
        f"{RECORD}#million": markdown(estimate_rows(content)),
    }


def printed(content: Mapping[str, Any]) -> str:
    """Render the tables as plain text."""
    tables = (run_rows(content), stage_rows(content), estimate_rows(content))
    return "\n\n".join(aligned(rows).replace("`", "") for rows in tables if len(rows) > 1)
