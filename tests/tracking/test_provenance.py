"""Where a run comes from, as far as anyone knows."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest
import yaml

from rca.tracking import machine
from rca.tracking.provenance import data_digest, experiment, provenance

RESULTS, DATA = Path("results/e"), Path("data/set")
SCORES = RESULTS / "evaluate/metrics.json"


@pytest.fixture(autouse=True)
def checkout(tmp_path, monkeypatch) -> None:
    """A folder with scores, and DVC's entry of their stage."""
    monkeypatch.chdir(tmp_path)
    SCORES.parent.mkdir(parents=True)
    SCORES.write_text("{}")
    entry = {
        "deps": [{"path": "data/set", "md5": "d1.dir"}, {"path": "rca/x.py", "md5": "c1"}],
        "outs": [{"path": SCORES.as_posix(), "md5": hashlib.md5(b"{}").hexdigest()}],
    }
    Path("dvc.lock").write_text(yaml.safe_dump({"stages": {"evaluate": entry}}))


def test_data_digest__is_that_of_the_entry_that_gave_these_scores():
    assert data_digest(RESULTS, DATA) == "d1.dir"


def test_data_digest__is_unknown_where_the_lock_is_of_another_run_or_missing():
    SCORES.write_text('{"miou": 1}')
    assert data_digest(RESULTS, DATA) is None
    Path("dvc.lock").unlink()
    assert data_digest(RESULTS, DATA) is None


def test_provenance__tells_the_machine_that_trained_from_the_one_that_tracks():
    weights = RESULTS / "train_cam/weights.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(b"weights")
    machine.note(weights, {"processor": "of the cluster", "gpus": "H100"}, Path("home"))

    tags = provenance(RESULTS, DATA, Path("home"))

    assert tags["train_cam.processor"] == "of the cluster" and tags["train_cam.gpus"] == "H100"
    assert tags["track.processor"] == machine.processor() and "track.torch" in tags
    assert not any(tag.startswith("train_seg/") for tag in tags)  # nobody noted it
    assert tags["data.md5"] == "d1.dir"


def test_provenance__names_commit_and_packages_of_the_checkout(monkeypatch):
    assert not {"git.commit", "uv.lock"} & set(provenance(RESULTS, DATA, Path("home")))
    Path("uv.lock").write_text("locked")
    root = Path(__file__).parents[2]

    digest = provenance(RESULTS, DATA, Path("home"))["uv.lock"]
    monkeypatch.chdir(root)
    tags = provenance(RESULTS, DATA, Path("home"))

    assert digest == hashlib.sha256(b"locked").hexdigest()
    assert len(tags["git.commit"]) == 40


def test_provenance__is_clean_where_the_code_is_as_committed():
    for name in ("code.py", "params.yaml", "dvc.lock"):
        Path(name).touch()
    subprocess.run(["git", "init", "--quiet", "."], check=True)
    subprocess.run(["git", "add", "."], check=True)
    who = ["-c", "user.name=t", "-c", "user.email=t@t"]
    subprocess.run(["git", *who, "commit", "--quiet", "--message", "all"], check=True)

    def clean() -> str:
        return provenance(RESULTS, DATA, Path("home"))["git.clean"]

    Path("params.yaml").write_text("seed: 1")
    Path("dvc.lock").write_text("stages: {}")
    Path("untracked").touch()
    assert clean() == "true"
    Path("code.py").write_text("pass")
    assert clean() == "false"


def test_experiment__is_dvcs():
    assert experiment({"PATH": "/bin"}) == {}
    assert experiment({"DVC_EXP_NAME": "tiny-fox", "DVC_EXP_BASELINE_REV": "abc"}) == {
        "dvc.experiment": "tiny-fox",
        "dvc.baseline": "abc",
    }
