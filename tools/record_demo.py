"""Keep the scores of `results/demo` as benchmarks/results/demo.json, and show them in the README.

python -m tools.record_demo            after a run: record it, then render
python -m tools.record_demo --render   only render the README's table from the record
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.records import README, origin, place_table
from rca.config import load
from rca.evaluation.summary import stage_rows
from rca.files import write_json, write_text

RECORD = Path("benchmarks/results/demo.json")


def record(results: Path, params: Path) -> dict[str, Any]:
    """Scores with their protocol, configuration, code and machine."""
    metrics = json.loads((results / "evaluate" / "metrics.json").read_text(encoding="utf-8"))
    return {
        **metrics,
        "params": load(params).model_dump(mode="json"),
        **origin(),
    }


def table(content: dict[str, Any]) -> str:
    """The scores as a Markdown table."""
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
    options.add_argument("--render", action="store_true")
    if not options.parse_args().render:
        write_json(RECORD, record(Path("results/demo"), Path("params.yaml")))
    content = json.loads(RECORD.read_text(encoding="utf-8"))
    readme = README.read_text(encoding="utf-8")
    write_text(README, place_table(readme, RECORD, table(content)))


if __name__ == "__main__":
    main()
