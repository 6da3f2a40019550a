"""Record the scores of a run in benchmarks/results/, and show them on the page about it.

python -m tools.record_run                  record results/demo, then render its table
python -m tools.record_run voc12_animals    another run, with the params.yaml that made it
python -m tools.record_run --render         only render the tables from the records
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from rca.config import load
from rca.presentation.score_rows import stage_rows
from rca.runtime.files import write_json
from tools.records import README, origin, place_tables

PAGES = {"demo": README, "voc12_animals": Path("docs/explanation/readout.md")}


def record_of(name: str) -> Path:
    """Return the file that records the scores of a run."""
    return Path(f"benchmarks/results/{name}.json")


def record(results: Path, params: Path) -> dict[str, Any]:
    """Collect the scores with their protocol, configuration, code and machine."""
    metrics = json.loads((results / "evaluate" / "metrics.json").read_text(encoding="utf-8"))
    return {
        **metrics,
        "params": load(params).model_dump(mode="json"),
        **origin(),
    }


def table(content: dict[str, Any]) -> str:
    """Format the scores as a Markdown table."""
    lines = ["| | images | sees their tags | mIoU in % |", "|---|---|---|---:|"]
    for row in stage_rows(content):
        images = f"{row['images']} {'training' if row['split'] == 'train' else 'validation'}"
        tags = "yes" if row["tags"] else "no"
        interval = row.get("miou_interval")  # older records have none
        spread = " ({:.1f} to {:.1f})".format(*interval) if interval else ""
        lines.append(f"| {row['title']} | {images} | {tags} | {row['miou']:.1f}{spread} |")
    ratio = content["miou"].get("ratio_to_fully_supervised")
    if ratio is not None:
        lines.append(f"| *from tags ÷ from true masks* | | | *{ratio:.2f}* |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Record unless told otherwise, then render."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("name", nargs="?", default="demo", choices=PAGES)
    options.add_argument("--render", action="store_true")
    chosen = options.parse_args()
    if not chosen.render:
        made = record(Path("results", chosen.name), Path("params.yaml"))
        write_json(record_of(chosen.name), made)
    for name, page in PAGES.items():
        content = json.loads(record_of(name).read_text(encoding="utf-8"))
        place_tables(page, {str(record_of(name)): table(content)})


if __name__ == "__main__":
    main()
