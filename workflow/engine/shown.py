"""The content of Snakemake's own report on a run: pages, figures and tables, with captions."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workflow.engine.snakemake import read_plan

COPIES = Path(".snakemake/shown")
CAPTIONS = "workflow/captions"  # relative to the Snakefile's folder
# File under results/<experiment>/ → its category in the report, and its name there.
RUN = {
    "track/report.html": ("Pages", "The run"),
    "report/panels.png": ("Figures", "Examples"),
    "evaluate/per_class.csv": ("Tables", "Scores of each class"),
    "evaluate/confusion.csv": ("Tables", "Confusions"),
    "evaluate/sweep.csv": ("Tables", "Background thresholds"),
}


@dataclass(frozen=True)
class Shown:
    """A file of a run as Snakemake's report shows it.

    Attributes:
        source: the file that the stage wrote.
        copy: the copy that Snakemake reads.
        caption: a reStructuredText file, relative to the Snakefile's folder.
        category: the heading under which the report lists it.
        labels: the columns by which the report lists it under that heading.
    """

    source: Path
    copy: Path
    caption: str
    category: str
    labels: Mapping[str, str]


def shown(stages: Sequence[Mapping[str, Any]]) -> list[Shown]:
    """List the files of a run that go into the report.

    Args:
        stages: the stages of the plan, each with `name` and `log`.
    """
    experiment = Path(stages[0]["log"]).parent.name
    trainings = [
        stage["name"].replace("@", "/") for stage in stages if stage["name"].startswith("train_")
    ]
    files = RUN | {f"{name}/history.csv": ("Tables", f"Losses of {name}") for name in trainings}
    return [
        Shown(
            source=Path("results", experiment, file),
            copy=COPIES / experiment / file,
            caption=f"{CAPTIONS}/{Path(file).stem}.rst",
            category=category,
            labels={"what": what},
        )
        for file, (category, what) in files.items()
    ]


if __name__ == "__main__":
    for one in shown(read_plan()):
        one.copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(one.source, one.copy)
        print(f"{one.source} -> {one.copy}")
