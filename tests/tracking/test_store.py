from __future__ import annotations

import fcntl
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tiny_results import evaluate_results, tiny_params, write_results

from rca.config import ConfigError, Params
from rca.stages import track
from rca.tracking import store
from rca.tracking.record import Record
from rca.tracking.signature import PLACE
from rca.tracking.times import Span

mlflow = pytest.importorskip("mlflow")
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore  # noqa: E402
from mlflow.tracking._tracking_service.registry import TrackingStoreRegistry  # noqa: E402

pytestmark = pytest.mark.slow  # MLflow makes a database


@pytest.fixture(scope="module")
def database(tmp_path_factory) -> Path:
    """A store whose tables are made once, which takes seconds."""
    path = tmp_path_factory.mktemp("mlflow") / "empty.db"
    store.connect(f"sqlite:///{path}")
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
    assert run.data.tags["rca.key"] == record.key
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
    assert after.info.end_time == before.info.end_time
    assert after.data.params == before.data.params
    assert points(uri, "train_cam/loss") == [(1, 0.9), (2, 0.5)]


def test_save__keeps_how_a_run_was_made_and_renews_the_other_tags(uri, record):
    for number in ("1", "2"):
        tags = {"made": {"train_cam.processor": number}, "latest": {"dvc.experiment": number}}
        store.save(record, uri=uri, run_name="demo", **tags)

    (run,) = runs(uri)
    assert run.data.tags["train_cam.processor"] == "1"
    assert run.data.tags["dvc.experiment"] == "2"


@pytest.mark.parametrize(
    ("given", "located"),
    [
        ("sqlite:///mlflow.db", "sqlite:////home/mlflow.db"),
        ("sqlite:////shared/mlflow.db", "sqlite:////shared/mlflow.db"),
        ("http://server:5000", "http://server:5000"),
    ],
)
def test_located__takes_a_relative_database_from_the_users_checkout(given, located):
    assert store.located(given, Path("/home")) == located
    assert store.located(given, Path()) == given


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


@pytest.mark.parametrize(
    ("uri", "lock"), [("sqlite:///runs.db", "runs.db.lock"), ("http://server", "state/mlflow.lock")]
)
def test_save__lets_one_process_at_a_time_into_any_store(uri, lock, record, tmp_path, monkeypatch):
    held = []

    def connect(_):
        with (tmp_path / lock).open() as other:
            try:
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                held.append(True)
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "connect", connect)
    with pytest.raises(KeyboardInterrupt):
        store.save(record, uri=uri, run_name="demo", home=tmp_path)

    assert held == [True]


# A process that saves a run; told so, it is killed when it is about to send that many batches.
SAVER = """
import os, signal, sys
from pathlib import Path
from rca.tracking import store
from rca.tracking.signature import PLACE
from rca.tracking.record import Record
uri, folder, score, batches = sys.argv[1:]
record = Record(
    params={f"key{number}": str(number) for number in range(250)},
    params_file="seed: 0",
    metrics={"miou/network_val": float(score)},
    curves={"train_cam/loss": tuple((epoch, 1 / epoch) for epoch in range(1, 151))},
    files=(Path(folder, "metrics.json"),),
)
if int(batches):
    from mlflow import MlflowClient
    send, sent = MlflowClient.log_batch, []
    def log_batch(*arguments, **items):
        sent.append(items)
        if len(sent) == int(batches):
            os.kill(os.getpid(), signal.SIGKILL)
        send(*arguments, **items)
    MlflowClient.log_batch = log_batch
store.save(record, uri=uri, run_name="demo")
"""


def saver(uri: str, folder: Path, score: int, killed_at: int = 0) -> subprocess.Popen[bytes]:
    (folder / "metrics.json").write_text("{}")
    arguments = [uri, str(folder), str(score), str(killed_at)]
    return subprocess.Popen([sys.executable, "-c", SAVER, *arguments])


def is_complete(uri: str, run: mlflow.entities.Run) -> bool:
    client = mlflow.MlflowClient(uri)
    curve = client.get_metric_history(run.info.run_id, "train_cam/loss")
    return (
        run.info.status == "FINISHED"
        and len(run.data.params) == 250
        and [point.step for point in curve] == list(range(1, 151))
        and {item.path for item in client.list_artifacts(run.info.run_id)}
        == {"metrics.json", "params.yaml"}
    )


def test_save__by_four_processes_at_once_loses_and_doubles_nothing(tmp_path):
    new = f"sqlite:///{tmp_path / 'new.db'}"  # they also make its tables

    processes = [saver(new, tmp_path, score) for score in (1, 1, 2, 3)]
    assert [process.wait() for process in processes] == [0, 0, 0, 0]

    kept = runs(new)
    assert sorted(run.data.metrics["miou/network_val"] for run in kept) == [1, 2, 3]
    assert all(is_complete(new, run) for run in kept)


def test_save__of_a_process_that_was_killed_is_completed_by_its_repeat(uri, tmp_path):
    killed = saver(uri, tmp_path, 1, killed_at=4)  # between two batches of its parameters
    assert killed.wait() == -signal.SIGKILL
    (before,) = runs(uri)
    assert before.info.status == "RUNNING" and 0 < len(before.data.params) < 250

    assert saver(uri, tmp_path, 1).wait() == 0

    (after,) = runs(uri)
    assert after.info.run_id == before.info.run_id and is_complete(uri, after)


def test_save__without_mlflow_says_what_to_install(uri, record, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)

    with pytest.raises(ConfigError, match="rca-wsss"):
        store.save(record, uri=uri, run_name="demo")


def test_connect__to_a_new_store_is_silent(tmp_path):
    code = "import sys; from rca.tracking.store import connect; connect(sys.argv[1])"

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


def test_save__keeps_when_the_pipeline_ran(uri, record):
    store.save(replace(record, span=Span(1000.0, 1090.5)), uri=uri, run_name="demo")

    (run,) = runs(uri)
    assert (run.info.start_time, run.info.end_time) == (1_000_000, 1_090_500)


def test_address__is_the_page_of_the_run(uri, record):
    place = store.save(record, uri=uri, run_name="demo")

    (run,) = runs(uri)
    page = f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
    local = f"http://127.0.0.1:5000/{page} while this runs: mlflow ui --backend-store-uri {uri}"
    assert store.address(uri, place) == local
    assert store.address("http://server:80/", place) == f"http://server:80/{page}"
    # Else MLflow opens the experiment as one of language models, without the table of runs.
    experiment = mlflow.MlflowClient(uri).get_experiment(run.info.experiment_id)
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"


@pytest.fixture
def results(tmp_path) -> Path:
    """An evaluated run, its network left out."""
    folder = write_results(tmp_path)
    evaluate_results(folder, tiny_params())
    return folder


@pytest.fixture
def without_networks(monkeypatch):
    monkeypatch.setattr(track, "_networks", lambda *_: ())


def params_of(uri: str) -> Params:
    values = tiny_params().model_dump()
    return Params.model_validate({**values, "track": {"uri": uri, "run_name": None}})


def test_run__says_where_the_run_is_the_same_every_time(uri, results, without_networks):
    params, out = params_of(uri), results / "track"

    track.run(params.track, params, results=results, out=out)
    first = (out / "run.json").read_bytes()
    forget_stores()
    Path(uri.removeprefix("sqlite:///")).unlink()  # the store is deleted: run again
    track.run(params.track, params, results=results, out=out)

    (run,) = runs(uri)
    assert (out / "run.json").read_bytes() == first
    assert "track.processor" in json.loads((out / "provenance.json").read_text())
    assert json.loads(first) == {
        "experiment": "rca",
        "run_name": "tiny",
        "key": run.data.tags["rca.key"],
        "uri": uri,
        "saved": True,
    }


def test_run__is_whole_without_the_server(results, without_networks, tmp_path, caplog):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{closed.getsockname()[1]}"  # nobody listens
    params, began = params_of(uri), time.monotonic()

    track.run(params.track, params, results=results, out=results / "track", home=tmp_path)

    assert time.monotonic() - began < 15
    assert json.loads((results / "track/run.json").read_text())["saved"] is False
    assert f"rca track --results {results} --out {results / 'track'}" in caplog.text


def test_save__to_what_is_no_mlflow_server_says_so(record, tmp_path):
    with Loopback() as other, pytest.raises(store.AwayError, match=r"127\.0\.0\.1"):
        store.save(record, uri=other, run_name="demo", home=tmp_path)


class Loopback:
    """A web server that has nothing."""

    def __enter__(self) -> str:
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _Nothing)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self.server.server_port}"

    def __exit__(self, *_) -> None:
        self.server.shutdown()
        self.server.server_close()


class _Nothing(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(404)

    do_POST = do_GET

    def log_message(self, *_) -> None:
        pass


def test_run__keeps_a_report_that_names_its_commit(
    results, without_networks, uri, tmp_path, monkeypatch
):
    monkeypatch.setattr(track, "provenance", lambda *_: {"git.commit": "c0ffee"})
    report, out = results / "report/report.html", tmp_path / "track"
    report.parent.mkdir(exist_ok=True)
    report.write_text(f"<dl>{PLACE}</dl>")
    params = params_of(uri)

    track.run(params.track, params, results=results, out=out, home=tmp_path)

    page = (out / "report.html").read_text()
    assert "<dt>Commit</dt><dd>c0ffee</dd>" in page
    assert report.read_text() == f"<dl>{PLACE}</dl>"  # same bytes
    (run,) = runs(uri)
    artefacts = Path(run.info.artifact_uri.removeprefix("file://"))
    assert (artefacts / "report.html").read_text() == page
