"""The provenance of a run: code, data, environment, machines, and DVC's experiment."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import yaml

from rca.tracking import machine
from rca.tracking.record import TRAININGS

LOCK = Path("dvc.lock")
PACKAGES = Path("uv.lock")
SCORES = "evaluate/metrics.json"
PROVENANCE = "provenance.json"  # in the folder of stage `track`
# A run writes the first and records the second, so changes to them leave its code known.
NO_CODE = (":!dvc.lock", ":!params.yaml")


def provenance(results: Path, data: Path, home: Path) -> dict[str, str]:
    """Collect the tags of the run in `results`; unknown facts are left out.

    `git.*` and `uv.lock` describe the checkout that tracks the run. `<training>.*` describes the
    machine that trained, from its note; `track.*` describes the one that tracks.

    Args:
        results: The folder of the experiment.
        data: The folder of the data set, as `dvc.lock` names it.
        home: The folder where machines are noted.
    """
    tags = {f"track.{fact}": value for fact, value in machine.describe(gpus=False).items()}
    for training in TRAININGS:
        facts = machine.noted(results / training / "weights.safetensors", home)
        tags |= {f"{training}.{fact}": value for fact, value in facts.items()}
    if commit := _git("rev-parse", "HEAD"):
        tags["git.commit"] = commit
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", *NO_CODE)
        tags["git.clean"] = str(not changed).lower()
    if PACKAGES.is_file():
        tags["uv.lock"] = hashlib.sha256(PACKAGES.read_bytes()).hexdigest()
    if digest := data_digest(results, data):
        tags["data.md5"] = digest
    return tags


def data_digest(results: Path, data: Path) -> str | None:
    """Return DVC's digest of the folder `data`, images and masks, that the run was scored on.

    Return None if `dvc.lock` has no entry, or the entry of another run, whose scores differ in
    their bytes.
    """
    scores = results / SCORES
    if not (LOCK.is_file() and scores.is_file()):
        return None
    found = hashlib.md5(scores.read_bytes()).hexdigest()
    try:
        entry = yaml.safe_load(LOCK.read_text(encoding="utf-8"))["stages"]["evaluate"]
        if _digests(entry, "outs").get(scores.as_posix()) != found:
            return None
        return _digests(entry, "deps").get(data.as_posix())
    except (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError):
        return None  # no entry, or a lock that DVC could not read either


def experiment(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return name and baseline of the DVC experiment that this stage is part of, if any."""
    names = {"dvc.experiment": "DVC_EXP_NAME", "dvc.baseline": "DVC_EXP_BASELINE_REV"}
    return {tag: environment[name] for tag, name in names.items() if environment.get(name)}


def _digests(entry: Mapping, kind: str) -> dict[str, str]:
    return {item["path"]: item["md5"] for item in entry.get(kind, []) if "md5" in item}


def _git(*arguments: str) -> str:
    try:
        run = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return run.stdout.strip()
