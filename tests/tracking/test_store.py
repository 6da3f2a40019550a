from __future__ import annotations

import fcntl
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from rca.config import ConfigError, Params
from rca.stages import track
from rca.tracking import store
from rca.tracking.record import Record

mlflow = pytest.importorskip("mlflow")
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore  # noqa: E402
from mlflow.tracking._tracking_service.registry import TrackingStoreRegistry  # noqa: E402


@pytest.fixture(scope="module")
def database(tmp_path_factory) -> Path:
    """A store whose tables are made once, which takes seconds."""
    path = tmp_path_factory.mktemp("mlflow") / "empty.db"
    store._connect(f"sqlite:///{path}")
    return path


@pytest.fixture
def uri(database, tmp_path) -> str:
    (tmp_path / "mlflow.db").write_bytes(database.read_bytes())
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture
def record(tmp_path) -> Record:
    file = tmp_path / "metrics.json"
    file.write_text("{}")
    return Record(
        params={f"section.key{number}": str(number) for number in range(120)},
        params_file="seed: 0\n",
        metrics={"miou/network_val": 50.0, "iou/network_val/potted plant (big)": 10.0},
        curves={"train_cam/loss": ((1, 0.9), (2, 0.5))},
        files=(file,),
    )


def runs(uri: str) -> list[mlflow.entities.Run]:
    client = mlflow.MlflowClient(uri)
    return client.search_runs([client.get_experiment_by_name("rca").experiment_id])


def points(uri: str, key: str) -> list[tuple[int, float]]:
    (run,) = runs(uri)
    history = mlflow.MlflowClient(uri).get_metric_history(run.info.run_id, key)
    return [(metric.step, metric.value) for metric in history]


def test_save__writes_parameters_scores_curves_tags_and_files(uri, record, tmp_path):
    store.save(record, uri=uri, run_name="demo")

    (run,) = runs(uri)
    assert run.info.run_name == "demo" and run.info.status == "FINISHED"
    assert run.info.end_time >= run.info.start_time
    assert run.data.params == record.params
    assert run.data.metrics["miou/network_val"] == 50.0
    assert run.data.metrics["iou/network_val/potted plant _big_"] == 10.0
    assert points(uri, "train_cam/loss") == [(1, 0.9), (2, 0.5)]
    assert run.data.tags["rca.key"] == record.key and "torch" in run.data.tags
    client = mlflow.MlflowClient(uri)
    kept = sorted(item.path for item in client.list_artifacts(run.info.run_id))
    assert kept == ["metrics.json", "params.yaml"]
    # Beside the store, wherever the process runs.
    assert Path(run.info.artifact_uri.removeprefix("file://")).is_relative_to(tmp_path)


def test_save__again_changes_nothing_but_the_name(uri, record):
    store.save(record, uri=uri, run_name="demo")
    (before,) = runs(uri)
    store.save(record, uri=uri, run_name="renamed")

    (after,) = runs(uri)
    assert after.info.run_id == before.info.run_id
    assert after.info.run_name == "renamed"
    assert after.data.params == before.data.params
    assert points(uri, "train_cam/loss") == [(1, 0.9), (2, 0.5)]


def test_save__completes_a_run_that_was_cut_short(uri, record, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(mlflow.MlflowClient, "log_artifact", interrupt)
        store.save(record, uri=uri, run_name="demo")
    (before,) = runs(uri)
    assert before.info.status == "RUNNING"

    store.save(record, uri=uri, run_name="demo")

    (after,) = runs(uri)
    assert after.info.run_id == before.info.run_id and after.info.status == "FINISHED"
    assert points(uri, "train_cam/loss") == [(1, 0.9), (2, 0.5)]


def interrupt(*_, **__):
    raise KeyboardInterrupt


def test_save__of_other_numbers_is_another_run(uri, record):
    store.save(record, uri=uri, run_name="demo")
    store.save(replace(record, metrics={"miou/network_val": 51.0}), uri=uri, run_name="demo")

    assert len(runs(uri)) == 2


def test_save__cuts_long_values(uri, record):
    store.save(replace(record, params={"long": "x" * 600}), uri=uri, run_name="demo")

    (run,) = runs(uri)
    assert run.data.params["long"] == "x" * 499 + "…"


def test_save__brings_a_deleted_experiment_back(uri, record):
    store.save(record, uri=uri, run_name="demo")
    client = mlflow.MlflowClient(uri)
    client.delete_experiment(client.get_experiment_by_name("rca").experiment_id)

    store.save(record, uri=uri, run_name="demo")

    assert client.get_experiment_by_name("rca").lifecycle_stage == "active"


def test_save__lets_one_process_at_a_time_make_the_tables(uri, record, monkeypatch):
    database = Path(uri.removeprefix("sqlite:///"))
    held = []

    def connect(_):
        with Path(f"{database}.lock").open() as other:
            try:
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                held.append(True)
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "_connect", connect)
    with pytest.raises(KeyboardInterrupt):
        store.save(record, uri=uri, run_name="demo")

    assert held == [True]


def test_save__without_mlflow_says_what_to_install(uri, record, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)

    with pytest.raises(ConfigError, match="rca-wsss"):
        store.save(record, uri=uri, run_name="demo")


def test_connect__to_a_new_store_is_silent(tmp_path):
    code = "import sys; from rca.tracking.store import _connect; _connect(sys.argv[1])"

    run = subprocess.run(
        [sys.executable, "-c", code, f"sqlite:///{tmp_path / 'new.db'}"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert (run.stdout, run.stderr) == ("", "")
    assert (tmp_path / "new.db").is_file()


def forget_stores() -> None:
    """Have MLflow open its stores anew, as another process does."""
    SqlAlchemyStore._engine_map.clear()
    TrackingStoreRegistry._get_store_with_resolved_uri.cache_clear()


def test_run__says_where_the_run_is_the_same_every_time(uri, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results, out = tmp_path / "results", tmp_path / "track"
    (results / "evaluate").mkdir(parents=True)
    (results / "evaluate/metrics.json").write_text('{"miou": {}, "products": {}}')
    download = {"source": "archive", "name": "set", "archive": "set.tar", "sha256": "0" * 64}
    params = Params.model_validate(
        {"experiment": "e", "download": download, "track": {"uri": uri, "run_name": None}}
    )

    track.run(params.track, params, results=results, out=out)
    first = (out / "run.json").read_bytes()
    forget_stores()
    Path(uri.removeprefix("sqlite:///")).unlink()  # the store is deleted: run again
    track.run(params.track, params, results=results, out=out)

    (run,) = runs(uri)
    assert (out / "run.json").read_bytes() == first
    assert json.loads(first) == {
        "experiment": "rca",
        "run_name": "e",
        "key": run.data.tags["rca.key"],
        "uri": uri,
    }
