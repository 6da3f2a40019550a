"""Damaged inputs: a stage must refuse one in one line, or do without the damaged part."""

from __future__ import annotations

import csv
import hashlib
import json
import random
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from benchmarks.faults import forks
from benchmarks.faults.damage import WAYS, damage
from benchmarks.faults.interruptions import Outcome
from benchmarks.faults.whole import Whole, copy, digests, environment

DATA = "data/voc12_animals_sample"
ALL_BUT_DOWNLOAD = (
    "train_cam", "infer_cam", "readout", "pseudo_labels", "crf", "train_seg@pseudo",
    "infer_seg@pseudo", "relabel@round_1", "evaluate", "report",
)  # fmt: skip
READ_PHOTOGRAPHS = tuple(
    name for name in ALL_BUT_DOWNLOAD if name not in ("pseudo_labels", "evaluate")
)


class Input(NamedTuple):
    """A kind of input.

    Attributes:
        files: The patterns of the files' paths in the run's folder.
        readers: The stages that read some of the files.
    """

    files: tuple[str, ...]
    readers: tuple[str, ...]


RESULTS = "results/debug"
VOUCHED = "archive with its digest"
KINDS: dict[str, Input] = {
    "photographs": Input((f"{DATA}/JPEGImages/*.jpg",), ("index", *READ_PHOTOGRAPHS)),
    "masks": Input((f"{DATA}/SegmentationClass*/*.png",), ("evaluate", "report")),
    "archive": Input(("data/embedded/*.tar",), ("download",)),
    VOUCHED: Input(("data/embedded/*.tar",), ("download",)),
    "pretrained weights": Input(
        ("data/embedded/*.safetensors",), ("train_cam", "train_seg@pseudo")
    ),
    "trained weights": Input(
        (f"{RESULTS}/train_*/**/weights.safetensors",),
        ("infer_cam", "readout", "relabel@round_1", "infer_seg@round_1", "track"),
    ),
    "class maps": Input(
        (f"{RESULTS}/infer_cam/*/*.safetensors", f"{RESULTS}/readout/*/*.safetensors"),
        ("readout", "pseudo_labels", "crf", "evaluate", "report"),
    ),
    "label maps": Input(
        (f"{RESULTS}/crf/*.png", f"{RESULTS}/infer_seg/*/*.png", f"{RESULTS}/pseudo_labels/*.png"),
        ("train_seg@pseudo", "evaluate", "report"),
    ),
    "index": Input((f"{RESULTS}/index/*.*",), ALL_BUT_DOWNLOAD),
    "tables": Input(
        (f"{RESULTS}/train_*/**/history.csv", f"{RESULTS}/evaluate/*.*"), ("report", "track")
    ),
    "params.yaml": Input(("params.yaml",), ("index", *ALL_BUT_DOWNLOAD, "track")),
    "MLflow store": Input(("mlflow.db",), ("track",)),
}


def run(whole: Whole, kind: str, draws: random.Random, folder: Path) -> tuple[str, str, Outcome]:
    """Run one trial in `folder`, which is removed; return the stage, the damage and the outcome."""
    stage = whole.stage(draws.choice(KINDS[kind].readers))
    way = draws.choice([*WAYS])
    copy(whole, folder, without=[*stage.outputs, ".dvc/cache"])
    try:
        file = draws.choice(_files(whole, kind, stage.inputs, folder))
        damage(file, way, draws)
        if kind == VOUCHED:
            _vouch_for(folder, file)
        ended = forks.start(stage.arguments, folder).end()
        outcome = _outcome(whole, stage.outputs, folder, file, ended)
        if kind == VOUCHED and outcome.word == "trusted":
            outcome = Outcome("taken; vouched for", ended.text)
        return stage.name, f"{file.relative_to(folder)}: {way}", outcome
    finally:
        shutil.rmtree(folder)
        for log in folder.parent.glob(f"{folder.name}.*.log"):
            log.unlink()


def _files(whole: Whole, kind: str, inputs: list[str], folder: Path) -> list[Path]:
    """List the files of the kind that a stage may read; of photographs and masks, the indexed."""
    found = sorted(path for pattern in KINDS[kind].files for path in folder.glob(pattern))
    with (whole.folder / RESULTS / "index/index.csv").open(encoding="utf-8") as file:
        indexed = {row["image"] for row in csv.DictReader(file)}
    below = tuple(folder / name for name in inputs)
    return [
        path
        for path in found
        if (not path.is_relative_to(folder / DATA) or path.stem in indexed)
        and (not path.is_relative_to(folder / RESULTS) or _within(path, below))
    ] or found


def _within(path: Path, folders: tuple[Path, ...]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)


def _vouch_for(folder: Path, archive: Path) -> None:
    """Put the damaged archive's own SHA-256 into params.yaml, so that its checksum matches."""
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    file = folder / "params.yaml"
    text = re.sub(r"sha256: \w+", f"sha256: {digest}", file.read_text(encoding="utf-8"))
    file.unlink()
    file.write_text(text, encoding="utf-8")


def _outcome(
    whole: Whole, outputs: list[str], folder: Path, file: Path, ended: forks.Ended
) -> Outcome:
    if ended.refused:
        made = digests(folder, outputs)
        return Outcome("half an output", ended.text) if made else Outcome("refused", ended.text)
    if ended.status:
        return Outcome("traceback" if "Traceback" in ended.text else "failed", ended.text)
    if digests(folder, outputs) == digests(whole.folder, outputs):
        return Outcome("identical")
    if noticed(folder, file):
        return Outcome("taken; DVC notices", ended.text)
    return Outcome("trusted", ended.text)


def noticed(folder: Path, file: Path) -> bool:
    """Check whether DVC reports a change of `file` or of a folder that contains it."""
    status = subprocess.run(
        ["dvc", "status", "--json"],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        check=True,
    )
    changed = re.findall(
        r'"([^"]+)": "(?:modified|deleted|new)"', json.dumps(json.loads(status.stdout))
    )
    name = file.relative_to(folder).as_posix()
    return any(name == path or name.startswith(f"{path}/") for path in changed)
