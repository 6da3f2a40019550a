"""The whole pipeline on eight images, through both engines, as users run it.

All runs take place once, in copies of the repository side by side; the tests read what the runs
left. `dvc` starts with `dvc repro`, `snakemake` with Snakemake, killed once in the middle, and
`slurm` with Snakemake on a cluster, a training cancelled. Both latter share the images among jobs.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from zipfile import ZipFile

import pytest
import yaml
from slurm_cluster import Cluster

from tools.checkout import copy_checkout

pytestmark = [pytest.mark.pipeline, pytest.mark.cluster]

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
PATIENCE = 900  # seconds for one run of an engine; it takes some 100
TRAINED = ("pseudo", "round_1")
AFTER_CRF = {
    "crf",
    "relabel@round_1",
    *(f"{stage}@{name}" for stage in ("train_seg", "infer_seg") for name in TRAINED),
    "evaluate",
    "report",
    "track",
}
STAGES = {"download", "index", "train_cam", "infer_cam", "readout", "pseudo_labels", *AFTER_CRF}


@dataclass
class Run:
    """What one command printed, and which stages it ran."""

    status: int
    text: str
    stages: set[str] = field(init=False)

    def __post_init__(self) -> None:
        by_dvc = re.findall(r"^Running stage '([^']+)'", self.text, re.MULTILINE)
        by_snakemake = re.findall(r"^([\w@]+): ", self.text, re.MULTILINE)
        self.stages = {*by_dvc, *by_snakemake} & STAGES


class Copy:
    """A fresh clone of the repository with the debug preset."""

    def __init__(self, root: Path, environment: Mapping[str, str] = os.environ) -> None:
        self.root = root
        copy_checkout(root, ("docs/", "tests/", "dvc.lock"))
        shutil.copy(ROOT / "configs/debug.yaml", root / "params.yaml")
        self.environment = {
            **environment,
            "PATH": f"{BIN}:{environment['PATH']}",
            "PYTHONPATH": str(root),
            "DVC_SITE_CACHE_DIR": str(root / ".dvc/tmp/site"),
            "OMP_NUM_THREADS": "1",
        }

    def start(self, command: str) -> subprocess.Popen[str]:
        """`command` in a process group of its own."""
        return subprocess.Popen(
            command.split(),
            cwd=self.root,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, command: str) -> Run:
        process = self.start(command)
        text, _ = process.communicate(timeout=PATIENCE)
        return Run(process.returncode, text)

    def killed_in(self, stage: str, sign: str, command: str) -> Run:
        """`command` and all its children, killed when the log of `stage` shows `sign`."""
        process = self.start(command)
        self.wait_for(stage, sign, process)
        os.killpg(process.pid, signal.SIGKILL)
        text, _ = process.communicate()
        self.wait_until_reaped(process.pid)
        return Run(process.returncode, text)

    def wait_until_reaped(self, group: int, seconds: float = 60) -> None:
        """Give process 1 time to reap the killed children: DVC takes a zombie for alive."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                os.killpg(group, 0)
            except ProcessLookupError:
                return
            time.sleep(0.02)

    def cancelled_in(self, stage: str, sign: str, command: str, cluster: Cluster) -> Run:
        """`command`, whose Slurm job of `stage` is cancelled when its log shows `sign`."""
        process = self.start(command)
        self.wait_for(stage, sign, process)
        listed = cluster.client("squeue", "-h", "-o", "%A %Z").splitlines()
        (job,) = [line.split()[0] for line in listed if line.split()[1] == str(self.root)]
        cluster.client("scancel", job)
        text, _ = process.communicate(timeout=PATIENCE)
        return Run(process.returncode, text)

    def wait_for(self, stage: str, sign: str, process: subprocess.Popen[str]) -> None:
        """Wait until the log of `stage` shows `sign`."""
        log = self.root / f"logs/debug/{stage}.log"
        end = time.monotonic() + PATIENCE
        while not (log.is_file() and sign in log.read_text()):
            assert process.poll() is None and time.monotonic() < end, process.stdout.read()
            time.sleep(0.02)

    def edit(self, old: str, new: str) -> None:
        file = self.root / "params.yaml"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    def digests(self) -> dict[str, str]:
        """Every file that the stages wrote, and DVC's books, whose order is that of the runs.

        But for what says when and where they were made: a note, and a copy of the report.
        """
        digests = {
            file.relative_to(self.root).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
            for folder in ("data/voc12_animals_sample", "results")
            for file in (self.root / folder).rglob("*")
            if file.is_file() and not (file.match("track/*") and file.name != "run.json")
        }
        books = yaml.safe_load((self.root / "dvc.lock").read_text())
        return {**digests, "dvc.lock": json.dumps(books, sort_keys=True)}


DVC = "dvc repro"
SNAKEMAKE = "snakemake --cores all"
SLURM = f"{SNAKEMAKE} --profile slurm --slurm-init-seconds-before-status-checks 2"
# Engine, edit of params.yaml, and what the message must say.
FAULTS = [
    (DVC, "crf:\n", "crf:\n  iteration: 3\n", "crf.iteration: no such key"),
    (DVC, "crf:\n", "crff: {}\ncrf:\n", "crff: no such key"),
    (SNAKEMAKE, "crf:\n", "crf:\n  iteration: 3\n", "crf.iteration: no such key"),
    (SNAKEMAKE, "iterations: 2", "iterations: many", "crf.iterations: Input should be a valid"),
]


def by_dvc(copy: Copy) -> Iterator[tuple[str, object]]:
    copy.edit("crf:\n", "crf:\n  iteration: 3\n")
    yield "wrong_in_fresh_clone", copy.run(DVC)
    copy.edit("  iteration: 3\n", "")
    yield "first", copy.run(DVC)
    yield "first_digests", copy.digests()
    yield "again", copy.run(DVC)
    yield "by_snakemake", copy.run(SNAKEMAKE)

    copy.edit("iterations: 2", "iterations: 3")
    yield "changed_by_snakemake", copy.run(SNAKEMAKE)
    yield "changed_digests", copy.digests()
    yield "changed_again", copy.run(DVC)
    copy.edit("iterations: 3", "iterations: 2")
    yield "back", copy.run(DVC)
    yield "back_digests", copy.digests()


def by_snakemake(copy: Copy) -> Iterator[tuple[str, object]]:
    yield "killed", copy.killed_in("train_cam", "on the CPU", SNAKEMAKE)
    yield "killed_digests", copy.digests()
    yield "killed_status", copy.run("dvc status")
    yield "first", copy.run(SNAKEMAKE)
    yield "first_digests", copy.digests()
    yield "again", copy.run(SNAKEMAKE)
    yield "by_dvc", copy.run(DVC)

    for engine, old, new, _ in FAULTS:
        copy.edit(old, new)
        yield f"{engine} {new}", copy.run(engine)
        copy.edit(new, old)
    yield "wrong_digests", copy.digests()
    yield "shown", copy.run("snakemake --cores all show")
    copy.environment |= dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")
    yield "packed", copy.run("snakemake show --report report.zip")
    with ZipFile(copy.root / "report.zip") as archive:
        yield "archive", sorted(Path(name).name for name in archive.namelist())


@pytest.fixture(scope="module")
def slurm(cluster, tmp_path_factory) -> SimpleNamespace:
    """What happened on the cluster, without the other copies in its way."""
    copy = Copy(tmp_path_factory.mktemp("engines") / "slurm", cluster.environment)
    return SimpleNamespace(
        first=copy.cancelled_in("train_cam", "on the CPU", SLURM, cluster),
        first_digests=copy.digests(),
        by_dvc=copy.run(DVC),
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> SimpleNamespace:
    """Both histories, by engine: `runs.dvc`, `runs.snakemake`."""
    folder = tmp_path_factory.mktemp("engines")
    copies = [Copy(folder / "dvc"), Copy(folder / "snakemake")]
    with ThreadPoolExecutor(2) as pool:
        dvc, snakemake = pool.map(
            lambda history, copy: SimpleNamespace(**dict(history(copy))),
            (by_dvc, by_snakemake),
            copies,
        )
    return SimpleNamespace(dvc=dvc, snakemake=snakemake)


def test_dvc__runs_every_stage(runs):
    assert runs.dvc.first.status == 0, runs.dvc.first.text
    assert runs.dvc.first.stages == STAGES


def test_snakemake__runs_every_stage_also_after_a_kill(runs):
    assert runs.snakemake.first.status == 0, runs.snakemake.first.text
    assert runs.snakemake.first.stages == STAGES - {"download", "index"}


def test_kill__leaves_no_output_to_be_trusted(runs):
    assert runs.snakemake.killed.status == -signal.SIGKILL
    assert not [name for name in runs.snakemake.killed_digests if "train_cam" in name]
    assert "deleted:            results/debug/train_cam/weights.safetensors" in (
        runs.snakemake.killed_status.text
    )
    assert "index:" not in runs.snakemake.killed_status.text


def test_engines__write_the_same_bytes(runs):
    assert len(runs.dvc.first_digests) > 50
    assert runs.snakemake.first_digests == runs.dvc.first_digests


def test_show__packs_page_figure_and_tables_without_a_network(runs):
    assert runs.snakemake.shown.status == 0, runs.snakemake.shown.text
    assert runs.snakemake.packed.status == 0, runs.snakemake.packed.text
    assert runs.snakemake.archive == [
        "confusion.csv", *["history.csv"] * 3, "panels.png", "per_class.csv", "report.html",
        "report.html", "sweep.csv",
    ]  # fmt: skip


def test_slurm__runs_heavy_stages_in_jobs_also_after_one_was_cancelled(slurm):
    assert slurm.first.status == 0, slurm.first.text
    assert slurm.first.stages == STAGES
    # A training twice; four stages by two shards and the stage itself; three others.
    assert slurm.first.text.count("has been submitted with SLURM jobid") == 3 + 18 + 3


def test_slurm__writes_the_same_bytes(slurm, runs):
    assert slurm.first_digests == runs.dvc.first_digests
    assert slurm.by_dvc.stages == set()


def test_second_run__does_nothing(runs):
    assert runs.dvc.again.status == 0 and runs.dvc.again.stages == set()  # but for `check`
    assert runs.snakemake.again.stages == set()
    assert f"none of {len(STAGES) + 1} stages to run" in runs.snakemake.again.text


def test_engines__in_turn_accept_each_others_work(runs):
    assert runs.dvc.by_snakemake.stages == set()
    assert f"none of {len(STAGES) + 1} stages to run" in runs.dvc.by_snakemake.text
    assert runs.snakemake.by_dvc.status == 0 and runs.snakemake.by_dvc.stages == set()


def test_changed_parameter__runs_its_stage_and_those_below(runs):
    assert runs.dvc.changed_by_snakemake.status == 0, runs.dvc.changed_by_snakemake.text
    assert runs.dvc.changed_by_snakemake.stages == AFTER_CRF
    assert runs.dvc.changed_again.stages == set()

    before, after = runs.dvc.first_digests, runs.dvc.changed_digests
    changed = {name for name in before if before[name] != after.get(name)}
    stages = {name.split("/")[2] for name in changed if name.startswith("results/")}
    # Two networks of two epochs may predict the same masks; their weights differ.
    assert stages | {"infer_seg", "relabel"} == {stage.split("@")[0] for stage in AFTER_CRF}
    assert not any(name.startswith("data/") for name in changed)


def test_earlier_parameters__are_restored_without_running(runs):
    assert runs.dvc.back.status == 0, runs.dvc.back.text
    assert runs.dvc.back.stages == set()
    assert runs.dvc.back_digests == runs.dvc.first_digests


@pytest.mark.parametrize(("engine", "_", "new", "message"), FAULTS)
def test_wrong_parameter__stops_before_anything_runs_and_is_named(runs, engine, _, new, message):
    run = vars(runs.snakemake)[f"{engine} {new}"]

    assert run.status != 0
    assert run.stages == set()
    assert message in run.text
    assert "Traceback" not in run.text
    assert runs.snakemake.wrong_digests == runs.snakemake.first_digests


def test_wrong_parameter__stops_a_fresh_clone(runs):
    run = runs.dvc.wrong_in_fresh_clone

    assert run.status != 0
    assert run.stages == set()
    assert "crf.iteration: no such key" in run.text
