"""What Snakemake's own report shows of a run: pages, figures and tables, each with a caption."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workflow.engine.snakemake import read_plan

COPIES = Path(".snakemake/shown")
CAPTIONS = "workflow/captions"  # from the Snakefile's folder
# File under results/<experiment>/ → category, and what it is called there.
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
        source: the file of the stage.
        copy: what is given to Snakemake.
        caption: a file in reStructuredText, from the Snakefile's folder.
        category: under which it is found.
        labels: by which it is found there.
    """

    source: Path
    copy: Path
    caption: str
    category: str
    labels: Mapping[str, str]


def shown(stages: Sequence[Mapping[str, Any]]) -> list[Shown]:
    """The files of a run that make its report.

    Args:
        stages: those of the plan, each with `name` and `log`.
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
