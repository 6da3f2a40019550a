"""A rehearsal of the whole pipeline with as many images as a large data set has.

    python -m benchmarks.rehearsal --images 750 1500 3000 6000
    python -m benchmarks.rehearsal --images 10582 --images-val 1449                 VOC's size
    python -m benchmarks.rehearsal --images 82081 --images-val 40504 --classes 80   COCO's size
    python -m benchmarks.rehearsal --images 750 --slurm --shards 4     on a one-machine cluster

The data set is fabricated, and the network tiny: what is measured is what depends on the number of
images. Every stage runs through Snakemake, in a copy of the checkout under `--work`. Recorded are
time, CPU time, memory, files and bytes of each stage; the size of `dvc.lock`; and the time of a
`snakemake` and a `dvc status` that find nothing to do. Over several sizes, growth is fitted.

A size that the record has is not measured again; one that was killed goes on where it stopped. If a
stage has run while nobody measured it, as after `kill -9`, the size must start anew, and the
message says so. Writes benchmarks/results/rehearsal.json after each size, and its tables into
docs/explanation/size.md.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.rehearsal.fabricate import Size
from benchmarks.rehearsal.pipeline import end_on_signals, rehearse, remove
from benchmarks.rehearsal.tables import PAGE, RECORD, page_tables, printed, record
from rca.presentation.result_files import read_json
from rca.runtime.files import write_json
from rca.runtime.pool import available_cores
from tools.checkout import ROOT
from tools.records import origin, place_tables

VAL_SHARE = 1449 / 10_582  # validation images for each training image, as in VOC 2012


def options(words: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--images", type=int, nargs="+", required=True, help="training images of each size")
    add("--images-val", type=int, nargs="+", help="validation images of each (VOC's share)")
    add("--classes", type=int, default=20, help="classes (20)")
    add("--shards", type=int, default=1, help="jobs that share a stage's images (1)")
    add("--cores", default="all", help="Snakemake's --cores (all)")
    add("--slurm", action="store_true", help="as jobs of a cluster on this machine")
    add("--seed", type=int, default=0, help="seed of the data set (0)")
    add("--again", action="store_true", help="measure sizes that the record has, too")
    add("--keep", action="store_true", help="keep the folder of a size that is done")
    add("--work", type=Path, default=Path("build/rehearsal"), help="folder (build/rehearsal)")
    add("--out", type=Path, default=RECORD)
    asked = parser.parse_args(words)
    if asked.images_val and len(asked.images_val) != len(asked.images):
        parser.error("--images-val: as many numbers as --images has, or none")
    return asked


def sizes(asked: argparse.Namespace) -> list[Size]:
    """List the sizes that are asked for."""
    val = asked.images_val or [max(round(VAL_SHARE * images), 1) for images in asked.images]
    return [Size(*pair, asked.classes) for pair in zip(asked.images, val, strict=True)]


def setting(size: Size, asked: argparse.Namespace) -> dict[str, Any]:
    """Describe what a run must share with another one to be the same measurement."""
    cores = available_cores() if asked.cores == "all" else int(asked.cores)
    return {
        **vars(size),
        "shards": asked.shards,
        "slurm": asked.slurm,
        "cores": cores,
        "seed": asked.seed,
    }


def is_done(size: Size, asked: argparse.Namespace, runs: list[dict[str, Any]]) -> bool:
    """Check whether the record has this size, with this setting."""
    wanted = setting(size, asked)
    return any(all(run.get(key) == value for key, value in wanted.items()) for run in runs)


@contextmanager
def alone(work: Path) -> Iterator[None]:
    """Hold the folder of rehearsals: another one would share the copies and the cluster.

    Raises:
        RuntimeError: Another process holds it.
    """
    work.mkdir(parents=True, exist_ok=True)
    folder = os.open(work, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError(
                f"{work}: another rehearsal is running there; wait for it, or name another folder "
                "by --work"
            ) from None
        yield
    finally:
        os.close(folder)


@contextmanager
def cluster(work: Path, *, wanted: bool) -> Iterator[Mapping[str, str] | None]:
    """Yield the environment of a Slurm cluster on this machine, and remove the cluster; or None."""
    if not wanted:
        yield None
        return
    folder = (work / "cluster").resolve()
    own = {key: value for key, value in os.environ.items() if not key.startswith("SLURM")}
    environment = {
        **own,
        "SLURM_CLUSTER": str(folder),
        "SLURM_CONF": str(folder / "slurm.conf"),
        "PATH": f"{folder / 'bin'}:{own['PATH']}",
    }
    script = ROOT / "tools/slurm_cluster.sh"
    subprocess.run([script, "up"], env=environment, check=True)
    try:
        yield environment
    finally:
        subprocess.run([script, "clean"], env=environment, check=True)


def keep(content: dict[str, Any], file: Path) -> None:
    """Write the record; if it is the one of the documentation, render its tables there, too."""
    write_json(file, content)
    if file == RECORD:
        place_tables(PAGE, page_tables(content))


def main() -> int:
    """Measure every size, record each at once, and print the tables."""
    asked, begun = options(), origin()
    end_on_signals()
    runs = read_json(asked.out)["runs"] if asked.out.exists() else []
    try:
        with alone(asked.work), cluster(asked.work, wanted=asked.slurm) as slurm:
            for size in sizes(asked):
                if is_done(size, asked, runs) and not asked.again:
                    print(f"{size}: in {asked.out} already", flush=True)
                    continue
                print(f"{size}: begun", flush=True)
                how = setting(size, asked)
                folder = (asked.work / "-".join(str(value) for value in how.values())).resolve()
                run = rehearse(
                    folder, size, cores=asked.cores, shards=asked.shards, seed=asked.seed,
                    slurm=slurm,
                )  # fmt: skip
                runs = [old for old in runs if not is_done(size, asked, [old])]
                runs.append({**how, **run, **begun})
                keep(record(runs, begun), asked.out)
                if not asked.keep:
                    remove(folder)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    print(printed(record(runs, begun)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
