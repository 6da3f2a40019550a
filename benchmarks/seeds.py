"""Results of an experiment over several seeds: mean and deviation of every product.

    python -m benchmarks.seeds demo results/demo ../other/results/demo    record, then render
    python -m benchmarks.seeds --render                                   only the tables

After the name come folders of finished experiments, or their metrics.json, with different values of
`seed` and otherwise the same protocol. The tables are in docs/explanation/readout.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from rca.config import ConfigError
from rca.evaluation.products import PRODUCTS
from rca.evaluation.protocol import UNSTATED
from rca.evaluation.runs import differing
from rca.runtime.files import write_json
from tools.records import origin, place_tables

RECORD, PAGE = Path("benchmarks/results/seeds.json"), Path("docs/explanation/readout.md")
RATIO = "ratio_to_fully_supervised"


def of_runs(metrics: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Combine runs: their protocol, mIoU of each seed, and mean and sample standard deviation.

    Args:
        metrics: The `metrics.json` of at least two runs.

    Raises:
        ConfigError: There is one run only, or two have the same seed or differ in their protocol.
    """
    runs = sorted(metrics, key=lambda run: run["seed"])
    seeds = [run["seed"] for run in runs]
    if len(set(seeds)) < max(len(seeds), 2):
        raise ConfigError(f"seeds {seeds}: name runs of at least two different ones")
    for run in runs[1:]:
        # An archive's digest depends on how it was packed; `image_sets` says which images. A key
        # that one protocol does not state was added to the protocols between the runs.
        different = [
            key
            for key, stated in differing([runs[0]["protocol"], run["protocol"]])
            if not key.startswith("data.") and UNSTATED not in stated
        ]
        if different:
            raise ConfigError(f"seed {run['seed']}: another protocol ({', '.join(different)})")
    shared = [name for name in runs[0]["miou"] if all(name in run["miou"] for run in runs)]
    values = {name: [run["miou"][name] for run in runs] for name in shared}
    return {
        "seeds": {str(run["seed"]): run["miou"] for run in runs},
        "summary": {
            name: {"mean": round(mean(scores), 4), "std": round(stdev(scores), 4)}
            for name, scores in values.items()
        },
        "protocol": runs[0]["protocol"],
        **origin(),
    }


def table(content: Mapping[str, Any]) -> str:
    """Render a Markdown table: a row per product, a column per seed, then mean and deviation."""
    seeds = content["seeds"]
    lines = [
        f"| mIoU in % | {' | '.join(f'seed {seed}' for seed in seeds)} | mean |",
        f"|---{'|---:' * (len(seeds) + 1)}|",
    ]
    rows = [(f"{product.title}, {product.split}", product.name, 1) for product in PRODUCTS]
    for title, name, digits in [*rows, ("*from tags ÷ from true masks*", RATIO, 2)]:
        if spread := content["summary"].get(name):
            cells = [f"{miou[name]:.{digits}f}" for miou in seeds.values()]
            cells.append(f"{spread['mean']:.{digits}f} ± {spread['std']:.{digits}f}")
            lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Record the runs unless `--render` is given, then render the tables."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("experiment", nargs="?")
    options.add_argument("results", nargs="*", type=Path)
    options.add_argument("--render", action="store_true")
    chosen = options.parse_args()
    records = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    if not chosen.render:
        files = [
            path if path.is_file() else path / "evaluate" / "metrics.json"
            for path in chosen.results
        ]
        runs = [json.loads(file.read_text(encoding="utf-8")) for file in files]
        records[chosen.experiment] = of_runs(runs)
        write_json(RECORD, records)
    place_tables(PAGE, {f"{RECORD}#{name}": table(one) for name, one in records.items()})


if __name__ == "__main__":
    main()
