"""`dvc exp run` and `dvc queue`: each experiment ends as a run of its own, all in one store.

The stage `track` is that of dvc.yaml; a small program stands in for the stages before it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from rca.config import Backbone, TrainSeg
from rca.data.index import Index, Record, write_index
from rca.data.palette import voc_palette
from rca.models.deeplab import DeepLab
from rca.models.weights import save_weights

mlflow = pytest.importorskip("mlflow")
pytestmark = pytest.mark.pipeline

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
PATIENCE = 900  # seconds for one command; it takes some 60
RESULTS = """
import json, pathlib, shutil, yaml
seed = yaml.safe_load(open("params.yaml"))["seed"]
network = {"iou": {}, "miou": 40.0 + seed, "split": "val", "images": 1}
scores = {"miou": {"network_val": 40.0 + seed}, "products": {"network_val": network}}
results = pathlib.Path("results/debug")
shutil.rmtree(results, ignore_errors=True)
shutil.copytree("ready", results)
for name, text in {
    "train_cam/history.csv": f"epoch,loss\\n1,0.{seed}\\n",
    "train_seg/pseudo/history.csv": "epoch,loss\\n1,0.5\\n",
    "evaluate/metrics.json": json.dumps(scores),
    "report/report.html": "<html>",
}.items():
    (results / name).parent.mkdir(parents=True, exist_ok=True)
    (results / name).write_text(text)
"""


def write_ready(folder: Path) -> None:
    """Write what the program need not make anew: an index and a network of one block."""
    values = np.arange(256, dtype=np.uint8)
    record = Record("a", "val", Path("data/a.jpg"), None, None, 8, 8, ("cat",))
    index = Index(Path("data"), ("cat",), values, voc_palette(), (record,))
    write_index(folder / "index", index)
    backbone = Backbone(name="mobilenet_v2", stride=8, weights="none", blocks=1)
    cfg = TrainSeg(backbone=backbone)
    save_weights(
        folder / "train_seg/pseudo/weights.safetensors", DeepLab(1, cfg), index.classes, cfg
    )


class Checkout:
    """A repository whose code puts its runs into an experiment that the installed code has not."""

    def __init__(self, root: Path) -> None:
        self.root = root
        shutil.copytree(ROOT / "rca", root / "rca", ignore=shutil.ignore_patterns("__pycache__"))
        store = root / "rca/tracking/store.py"
        text = store.read_text()
        assert 'EXPERIMENT = "rca"' in text
        store.write_text(text.replace('EXPERIMENT = "rca"', 'EXPERIMENT = "of the copy"'))
        for name in (".gitignore", ".dvcignore", ".dvc/config", ".dvc/.gitignore"):
            (root / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(ROOT / name, root / name)
        params = yaml.safe_load((ROOT / "configs/debug.yaml").read_text())
        params["train_seg"]["supervisions"], params["relabel"]["teachers"] = {"pseudo": "crf"}, {}
        (root / "params.yaml").write_text(yaml.safe_dump(params))
        pipeline = yaml.safe_load((ROOT / "dvc.yaml").read_text())
        track = pipeline["stages"]["track"]
        outs = [path for path in track["deps"] if path.startswith("results/")]
        made = {"cmd": f"{sys.executable} made.py", "params": ["seed"], "outs": outs}
        pipeline["stages"] = {"made": made, "track": track}
        (root / "dvc.yaml").write_text(yaml.safe_dump(pipeline))
        (root / "made.py").write_text(RESULTS)
        write_ready(root / "ready")
        self.environment = {
            **os.environ,
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "DVC_SITE_CACHE_DIR": str(root / ".dvc/tmp/site"),
        }
        for command in (
            ("init", "--quiet", "."),
            ("config", "user.name", "t"),
            ("config", "user.email", "t@example.org"),
            ("add", "--all"),
            ("commit", "--quiet", "--message", "baseline"),
        ):
            subprocess.run(["git", *command], cwd=root, check=True)

    def dvc(self, command: str) -> str:
        """What `dvc COMMAND` prints."""
        out = self.root / "tmp/dvc.log"  # a pipe would stay open as long as the workers live
        out.parent.mkdir(exist_ok=True)
        with out.open("w") as log:
            done = subprocess.run(
                ["dvc", *command.split()],
                cwd=self.root,
                env=self.environment,
                stdout=log,
                stderr=log,
                timeout=PATIENCE,
            )
        assert done.returncode == 0, out.read_text()
        return out.read_text()

    def runs(self) -> list[mlflow.entities.Run]:
        """Those in the store of this checkout."""
        client = mlflow.MlflowClient(f"sqlite:///{self.root / 'mlflow.db'}")
        found = client.get_experiment_by_name("of the copy")
        return client.search_runs([found.experiment_id])


@pytest.fixture(scope="module")
def sweep(tmp_path_factory) -> SimpleNamespace:
    """Five experiments, one in the workspace, two in copies, two queued; the third repeats one."""
    checkout = Checkout(tmp_path_factory.mktemp("sweep") / "checkout")
    checkout.dvc("exp run --name here --set-param seed=1")
    checkout.dvc("exp run --temp --name copy --set-param seed=2")
    checkout.dvc("exp run --temp --name repeat --set-param seed=2 --force")
    checkout.dvc("exp run --queue --name queued --set-param seed=3,4")
    try:
        checkout.dvc("queue start --jobs 2")
        end = time.monotonic() + PATIENCE
        while (status := checkout.dvc("queue status")).count("Success") < 2:
            assert "Failed" not in status and time.monotonic() < end, status
            time.sleep(2)
    finally:
        checkout.dvc("queue stop --kill")
    return SimpleNamespace(runs=checkout.runs(), checkout=checkout)


def test_experiments__are_a_run_each_and_a_repeat_is_none(sweep):
    seen = {run.data.params["seed"]: run.data.metrics["miou/network_val"] for run in sweep.runs}

    assert len(sweep.runs) == 4
    assert seen == {"1": 41, "2": 42, "3": 43, "4": 44}
    assert all(run.info.status == "FINISHED" for run in sweep.runs)


def test_experiments__give_the_runs_their_names(sweep):
    names = {run.data.params["seed"]: run.info.run_name for run in sweep.runs}

    assert names == {"1": "here", "2": "repeat", "3": "queued-1", "4": "queued-2"}
    assert all(run.data.tags["dvc.experiment"] == run.info.run_name for run in sweep.runs)
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=sweep.checkout.root, capture_output=True, text=True
    ).stdout.strip()
    assert {run.data.tags["dvc.baseline"] for run in sweep.runs} == {head}


def test_experiments__keep_their_files_when_their_folders_are_gone(sweep):
    client = mlflow.MlflowClient(f"sqlite:///{sweep.checkout.root / 'mlflow.db'}")

    for run in sweep.runs:
        text = Path(client.download_artifacts(run.info.run_id, "params.yaml")).read_text()
        assert str(yaml.safe_load(text)["seed"]) == run.data.params["seed"]
