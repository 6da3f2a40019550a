"""Run a preset from a clean clone, and compare every artefact with the committed lock.

python workflow/reproduce.py                  exit status 1 if something differs
python workflow/reproduce.py index train_cam  only these stages and what they need
python workflow/reproduce.py --record         make the results the lock

The lock is DVC's, with the machine it was made on. Another processor may round floats differently.
There, the commit that last changed the lock is run as well, and its results are compared instead.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from rca.data.nested import flat
from rca.runtime.files import write_text
from rca.tracking.machine import processor

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ROOT / "workflow" / "locks"
UNREPEATABLE = {"check", "track"}  # no artefact, and the id of a run in MLflow

Stages = dict[str, dict[str, Any]]  # as dvc.lock has them, in the order of the pipeline


def run_clone(preset: str, targets: list[str], commit: str = "HEAD") -> Stages:
    """Run `dvc repro` in a clone of `commit`, and return the lock that it leaves."""
    with tempfile.TemporaryDirectory(prefix="reproduce-") as folder:
        clone = Path(folder) / "clone"
        git = ["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(clone)]
        subprocess.run(git, check=True)
        subprocess.run(["git", "-C", str(clone), "checkout", "--quiet", commit], check=True)
        lock = clone / "dvc.lock"
        lock.unlink(missing_ok=True)  # so that each stage runs
        (clone / "params.yaml").write_bytes((clone / "configs" / f"{preset}.yaml").read_bytes())
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(clone),  # older commits, whose dvc.yaml does not set it, need this
            "DVC_SITE_CACHE_DIR": str(Path(folder) / "site"),
        }
        repro = [sys.executable, "-m", "dvc", "repro", "--quiet", *targets]
        subprocess.run(repro, cwd=clone, env=environment, check=True)
        stages = yaml.safe_load(lock.read_text(encoding="utf-8"))["stages"]
    return {name: entry for name, entry in stages.items() if name not in UNREPEATABLE}


def machine() -> dict[str, str]:
    """Describe what decides how floats are rounded, besides code and parameters."""
    import torch

    return {
        "processor": processor(),
        "vector instructions": torch.backends.cpu.get_cpu_capability(),
        "torch": str(torch.__version__),
    }


def differing(wanted: Stages, found: Stages) -> list[str]:
    """List the stages of `found` with outputs that `wanted` lacks, or has with other bytes."""
    return [
        name
        for name, entry in found.items()
        if digests(entry, "outs") != digests(wanted.get(name, {}), "outs")
    ]


def digests(entry: dict[str, Any], kind: str) -> dict[str, str]:
    """Return path → MD5 of a stage's `deps` or `outs`."""
    return {item["path"]: item["md5"] for item in entry.get(kind, [])}


def effects(wanted: dict[str, Any], found: dict[str, Any]) -> Iterator[str]:
    """Yield which outputs differ and how, a line each."""
    before = {item["path"]: item for item in wanted.get("outs", [])}
    for item in found["outs"]:
        old = before.get(item["path"])
        if old is None:
            yield f"{item['path']}: not in the lock"
        elif old["md5"] != item["md5"]:
            yield f"{item['path']}: {_in_words(old)} → {_in_words(item)}"


def _in_words(item: dict[str, Any]) -> str:
    files = f"{item['nfiles']} files, " if "nfiles" in item else ""
    return f"{files}{item['size']:,} bytes, MD5 {item['md5'][:8]}…"


def causes(wanted: dict[str, Any], found: dict[str, Any]) -> Iterator[str]:
    """Yield what went into the stage and differs from the lock, a line each."""
    before, now = (
        {key.removeprefix("params.yaml."): value for key, value in flat(stage.get("params", {}))}
        for stage in (wanted, found)
    )
    for key in sorted({*before, *now}):
        if before.get(key) != now.get(key):
            yield f"parameter {key}: {before.get(key)} → {now.get(key)}"
    old, new = digests(wanted, "deps"), digests(found, "deps")
    for path in sorted({*old, *new}):
        if old.get(path) != new.get(path):
            yield f"{'code' if path.endswith('.py') else 'input'} {path}"


def explain(wanted: Stages, found: Stages) -> str:
    """Describe the first stage that differs, how, and which of its inputs do."""
    first, *others = differing(wanted, found)
    old, new = wanted.get(first, {}), found[first]
    lines = [f"{first} is the first stage that differs:"]
    lines += [f"  {effect}" for effect in effects(old, new)]
    if reasons := list(causes(old, new)):
        lines += ["what went into it and was otherwise before:"]
        lines += [f"  {reason}" for reason in reasons]
    else:
        lines += ["its code, parameters and inputs are the same: it does not repeat itself"]
    if others:
        lines += [f"after it differ: {', '.join(others)}"]
    if reasons:
        lines += ["if that is meant: make reproduce RECORD=1, and commit the lock"]
    return "\n".join(lines)


def compare(lock: Path, preset: str, targets: list[str]) -> int:
    """Run the stages, print what differs, and return the exit status."""
    recorded = yaml.safe_load(lock.read_text(encoding="utf-8"))
    wanted, here = recorded["stages"], machine()
    found = run_clone(preset, targets)
    if not differing(wanted, found):
        print(f"{len(found)} stages give the bytes of {lock.name}")
        return 0
    if recorded["machine"] != here:
        print(f"The lock is of another machine: {recorded['machine']}; this one: {here}.")
        commit = last_change(lock)
        print(f"Holding it against what its commit, {commit[:8]}, gives on this one.")
        wanted = run_clone(preset, targets, commit)
        if not differing(wanted, found):
            print(f"{len(found)} stages give the same bytes")
            return 0
    print(explain(wanted, found))
    return 1


def last_change(file: Path) -> str:
    """Find the commit that last changed `file`."""
    command = ["git", "log", "-1", "--format=%H", "--", file.name]
    run = subprocess.run(command, cwd=file.parent, capture_output=True, text=True, check=True)
    return run.stdout.strip()


def main() -> int:
    """Compare or record, as the options say."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stages", nargs="*", help="all, unless some are named")
    parser.add_argument("--preset", default="debug", help="name of a file in configs/ (debug)")
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    lock = LOCKS / f"{options.preset}.lock"
    if options.record:
        content = {
            "machine": machine(),
            "stages": run_clone(options.preset, options.stages),
        }
        write_text(lock, yaml.safe_dump(content, sort_keys=False))
        print(f"{lock} recorded")
        return 0
    if not lock.is_file():
        parser.error(f"{lock}: no such file; --record makes it")
    return compare(lock, options.preset, options.stages)


if __name__ == "__main__":
    sys.exit(main())
