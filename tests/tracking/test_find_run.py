"""`rca compare` by the names of DVC experiments and MLflow runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rca import cli
from rca.config import ConfigError
from rca.tracking.find import of_name
from rca.tracking.record import Record
from rca.tracking.store import save

pytest.importorskip("mlflow")
BIN = Path(sys.executable).parent
PIPELINE = """
stages:
  evaluate:
    cmd: python made.py
    params: [seed]
    outs: [results/tiny/evaluate/metrics.json]
"""
MADE = """
import json, pathlib, yaml
seed = yaml.safe_load(open("params.yaml"))["seed"]
row = {"coverage": 100.0, "miou_interval": [39.0, 43.0]}
text = json.dumps({"miou": {"network_val": 40.0 + seed}, "products": {"network_val": row},
                   "seed": seed, "protocol": {"mask_source": "m"}})
path = pathlib.Path("results/tiny/evaluate/metrics.json")
path.parent.mkdir(parents=True, exist_ok=True)
path.write_text(text)
"""


def metrics(seed: int) -> dict:
    row = {"coverage": 100.0, "miou_interval": [39.0, 43.0]}
    return {
        "miou": {"network_val": 40.0 + seed},
        "products": {"network_val": row},
        "seed": seed,
        "protocol": {"mask_source": "m"},
    }


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    """A repository with the DVC experiments `one` and `two`, whose results lie in DVC's cache."""
    root = tmp_path_factory.mktemp("experiments")
    (root / "dvc.yaml").write_text(PIPELINE)
    (root / "made.py").write_text(MADE)
    (root / "params.yaml").write_text("experiment: tiny\nseed: 0\n")
    environment = {
        **os.environ,
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "DVC_SITE_CACHE_DIR": str(root / ".site"),
        "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@b",
    }  # fmt: skip
    for command in (
        "git init --quiet .", "dvc init --quiet", "git add .", "git commit --quiet -m tiny",
        "dvc exp run --quiet --name one --set-param seed=1",
        "dvc exp run --quiet --name two --set-param seed=2",
    ):  # fmt: skip
        subprocess.run(command.split(), cwd=root, env=environment, check=True)
    return root


@pytest.fixture
def store(tmp_path) -> str:
    """An MLflow store with the runs `tried` and, twice, `again`."""
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    for seed, name in enumerate(["tried", "again", "again"]):
        file = tmp_path / "metrics.json"
        file.write_text(json.dumps(metrics(seed)))
        record = Record({"seed": str(seed)}, "", {}, {}, (file,))
        save(record, uri=uri, run_name=name)
    return uri


def test_find__dvc_experiments_by_name(repository):
    found = [of_name(name, uri="sqlite:///none.db", home=repository) for name in ("one", "two")]
    assert [run.metrics["seed"] for run in found] == [1, 2]
    assert of_name("three", uri="sqlite:///none.db", home=repository) is None
    assert not (repository / "none.db").exists()


def test_find__mlflow_runs_by_name_or_id(store, tmp_path):
    assert of_name("tried", uri=store, home=tmp_path).metrics == metrics(0)
    assert of_name("it's none", uri=store, home=tmp_path) is None
    with pytest.raises(ConfigError, match="2 MLflow runs have this name; say which by id: ") as two:
        of_name("again", uri=store, home=tmp_path)
    ids = str(two.value).rpartition(": ")[2].split(", ")
    seeds = {of_name(number, uri=store, home=tmp_path).metrics["seed"] for number in ids}
    assert seeds == {1, 2}


def test_compare__takes_names(repository, monkeypatch, capsys):
    monkeypatch.chdir(repository)
    monkeypatch.setattr(sys, "argv", ["rca", "compare", "one,two", "one", "--params", "none.yaml"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code in (0, None)
    assert "41.50 ± 0.71 (2 seeds)" in capsys.readouterr().out


def test_find__says_where_a_dvc_experiment_is_from(repository):
    found = of_name("one", uri="sqlite:///none.db", home=repository)
    terms = dict(found.terms)
    tip = subprocess.run(
        ["git", "for-each-ref", "--format=%(objectname)", "refs/exps/**/one"],
        cwd=repository, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert terms["DVC experiment"] == "one" and terms["Commit"] == tip.stdout.strip()
    assert terms["Scored"].endswith(" UTC")
    assert found.folder is None and found.repeat.startswith("dvc exp apply one ")


def test_find__says_where_an_mlflow_run_is_from(tmp_path):
    uri, file = f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path / "metrics.json"
    file.write_text(json.dumps(metrics(0)))
    made = {"git.commit": "c0ffee", "git.clean": "true"}
    save(Record({"seed": "0"}, "", {}, {}, (file,)), uri=uri, run_name="tried", made=made)
    found = of_name("tried", uri=uri, home=tmp_path)
    assert ("Commit", "c0ffee") in found.terms and found.terms[0][1].startswith("tried (")
    assert found.repeat.startswith("git checkout c0ffee\n")


def test_compare__writes_a_page_of_names_with_tables_alone(repository, monkeypatch, tmp_path):
    monkeypatch.chdir(repository)
    out = tmp_path / "page.html"
    monkeypatch.setattr(
        sys, "argv", ["rca", "compare", "one", "two", "--page", str(out), "--params", "no"]
    )
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code in (0, None)
    text = " ".join(out.read_text().split())
    assert "only the numbers of one are here, not its masks" in text and "+1.0" in text
    assert "dvc exp apply two" in text and "<article" not in text


def test_compare__says_where_it_looked(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["rca", "compare", "one", "two"])
    with pytest.raises(SystemExit):
        cli.main()
    assert "one: no such file or folder, no DVC experiment" in capsys.readouterr().err
    assert not list(tmp_path.iterdir()), "looking makes nothing"
