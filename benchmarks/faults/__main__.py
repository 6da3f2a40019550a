"""Random faults of every kind, and how the pipeline copes with them.

    python -m benchmarks.faults --trials 200 --inputs 100 --seed 0     or: make faults

First, the debug preset runs undisturbed. Then a random stage is disturbed while it runs, in a copy
of that run without the stage's outputs, and is run again undisturbed: its outputs must have the
same bytes. Next, a random input of a random stage is damaged: the stage must refuse it in one line.
Last, the engines are disturbed. Trial N draws from the seed and N alone, so `--only N` repeats it.

Writes benchmarks/results/faults.json, and its table into docs/explanation/faults.md. The exit
status is 1 if a trial went wrong.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

# Before torch is imported: a process that forks must have no other threads.
os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")

from benchmarks.faults import engines, forks, inputs, interruptions, whole
from benchmarks.faults.tables import PAGE, RECORD, WELL, Row, page_table, printed, record
from rca.runtime.files import write_json
from tools.records import origin, place_tables


def interrupted(run: whole.Whole, seed: int, numbers: Iterable[int], place: Path) -> Iterator[Row]:
    """Yield trials of stages that are disturbed while they run, each kind in turn."""
    kinds = [*interruptions.KINDS]
    for number in numbers:
        draws = random.Random(f"{seed} interruption {number}")
        kind, stage = kinds[number % len(kinds)], draws.choice(run.stages)
        outcome = interruptions.run(run, stage, kind, draws, place / f"trial{number}")
        yield Row("interruptions", number, kind, stage.name, "", *outcome)


def damaged(run: whole.Whole, seed: int, numbers: Iterable[int], place: Path) -> Iterator[Row]:
    """Yield trials of damaged inputs, each kind in turn."""
    kinds = [*inputs.KINDS]
    for number in numbers:
        draws = random.Random(f"{seed} input {number}")
        kind = kinds[number % len(kinds)]
        stage, how, outcome = inputs.run(run, kind, draws, place / f"input{number}")
        yield Row("inputs", number, kind, stage, how, *outcome)


def disturbed(run: whole.Whole, seed: int, numbers: Iterable[int], place: Path) -> Iterator[Row]:
    """Yield trials of the engines, each kind with both engines."""
    for number in numbers:
        draws = random.Random(f"{seed} engine {number}")
        kind, stage, outcome = engines.run(run, number, draws, place / f"engine{number}")
        yield Row("engines", number, kind, stage, "", *outcome)


def options() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=200, help="disturbed stages (200)")
    parser.add_argument("--inputs", type=int, default=100, help="damaged inputs (100)")
    parser.add_argument("--engines", type=int, default=16, help="disturbed engines (16)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="the trial of this number, of each kind asked for")
    parser.add_argument("--keep", type=Path, help="folder of the undisturbed run, for other calls")
    parser.add_argument("--out", type=Path, default=RECORD)
    return parser.parse_args()


def keep(content: dict[str, Any], file: Path) -> None:
    """Write the record; if it is the one of the documentation, render its table there, too."""
    write_json(file, content)
    if file == RECORD:
        place_tables(PAGE, {str(RECORD): page_table(content["tables"])})


def main() -> int:
    """Run all trials, print and record them, and return the exit status."""
    asked, begun = options(), origin()
    forks.preload()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="faults-") as scratch:
        place = Path(scratch)
        run = whole.build((asked.keep or place / "whole").resolve())
        for trials, count in (
            (interrupted, asked.trials),
            (damaged, asked.inputs),
            (disturbed, asked.engines),
        ):
            numbers = range(count) if asked.only is None else [asked.only][:count]
            for row in trials(run, asked.seed, numbers, place):
                rows.append(row)
                print(*row[:6], sep="\t", flush=True)
                if row.outcome not in WELL:
                    print(row.text, flush=True)
            if asked.only is None:  # now, as a later trial may break the campaign itself
                keep(record(rows, asked.seed, begun), asked.out)
        assert whole.digests(run.folder) == run.digests, "a trial wrote into the undisturbed run"
    content = record(rows, asked.seed, begun)
    print(printed(content["tables"]))
    return int(bool(content["wrong"]))


if __name__ == "__main__":
    sys.exit(main())
