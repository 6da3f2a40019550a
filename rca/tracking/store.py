"""Runs in an MLflow store, where saving a run again updates it."""

from __future__ import annotations

import fcntl
import logging
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import requests

from rca.config import ConfigError, not_installed
from rca.tracking.networks import log_network
from rca.tracking.record import Record

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

Item = TypeVar("Item")

EXPERIMENT = "rca"
KEY = "rca.key"
LONGEST_PARAM = 500  # characters; MLflow's limit on older servers
BATCH = 100  # params per request, MLflow's limit
SQLITE = "sqlite:///"
LIBRARIES = {"mlflow", "sqlalchemy", "alembic", "sqlite3"}
PATIENCE = 5  # seconds until a request to a server times out
# Without this tag, MLflow shows the experiment on its page for language models.
KIND = {"mlflow.experimentKind": "custom_model_development"}


class AwayError(ConnectionError):
    """The tracking server does not answer, or does not answer as an MLflow server."""


class Place(NamedTuple):
    """The place of a run in MLflow: the ids of the experiment and of the run."""

    experiment: str
    run: str


def save(
    record: Record,
    *,
    uri: str,
    run_name: str,
    home: Path = Path(),
    made: Mapping[str, str] = {},
    latest: Mapping[str, str] = {},
) -> Place:
    """Save `record` to the MLflow store at `uri`, one process at a time.

    A run with the same key is updated, not duplicated.

    Args:
        record: The run.
        uri: The URI of the tracking server, or of a database.
        run_name: The name shown in MLflow's lists.
        home: The folder from which a relative path of an SQLite database is resolved.
        made: Tags that say how the run was made, kept from when the run was first saved.
        latest: Tags that change with every call, as the name does.

    Raises:
        ConfigError: MLflow is not installed, or the database is damaged or of another version.
        AwayError: The tracking server is unreachable.
    """
    uri = located(uri, home)
    with _alone(uri, home), _whole(uri):
        client = connect(uri)
        with _answering(uri):
            experiment = _experiment(client, uri)
            run = find_run(client, record.key) or client.create_run(
                experiment,
                run_name=run_name,
                tags={KEY: record.key, **made},
                start_time=record.span and _milliseconds(record.span.began),
            )
            _fill(client, run, record, run_name, latest)
    return Place(experiment, run.info.run_id)


def address(uri: str, place: Place) -> str:
    """Return where people find the run: its page, and the command to run first without a server."""
    page = f"#/experiments/{place.experiment}/runs/{place.run}"
    if uri.startswith(("http://", "https://")):
        return f"{uri.rstrip('/')}/{page}"
    command = f"mlflow ui --backend-store-uri {shlex.quote(uri)}"
    return f"http://127.0.0.1:5000/{page} while this runs: {command}"


def located(uri: str, home: Path) -> str:
    """Resolve a relative path of an SQLite database in `uri` from `home`."""
    if not uri.startswith(SQLITE):
        return uri
    return f"{SQLITE}{home / uri.removeprefix(SQLITE)}"


def connect(uri: str) -> MlflowClient:
    """Create a client of the store at `uri`, without telemetry and without messages.

    Raises:
        ConfigError: MLflow is not installed.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    try:
        from mlflow import MlflowClient
    except ImportError:
        raise not_installed("track and compare", "MLflow", "workflow") from None
    for name in ("mlflow", "alembic"):  # they log each table that they create
        logging.getLogger(name).setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=uri)


@contextmanager
def _whole(uri: str) -> Iterator[None]:
    """Turn library errors about an unusable database into a message of one line."""
    try:
        yield
    except Exception as error:
        libraries = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
        # A full disk is not the database's fault, and is reported elsewhere.
        full = "disk is full" in str(error) or "readonly database" in str(error)
        if not uri.startswith(SQLITE) or full or not libraries & LIBRARIES:
            raise
        file = uri.removeprefix(SQLITE)
        raise ConfigError(
            f"{file}: MLflow cannot use this database ({str(error).splitlines()[0]}); move it "
            "away, and `rca track` fills a new one; or restore a copy"
        ) from None


@contextmanager
def _answering(uri: str) -> Iterator[None]:
    """Turn failures of a tracking server into `AwayError`, after a quick check that it is up.

    MLflow itself retries a server that is down for minutes.
    """
    if not uri.startswith(("http://", "https://")):
        yield
        return
    from mlflow.exceptions import MlflowException

    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    try:
        requests.get(f"{uri.rstrip('/')}/health", timeout=PATIENCE)
        yield
    except (requests.RequestException, MlflowException) as error:
        raise AwayError(f"{uri}: {str(error).splitlines()[0]}") from error


@contextmanager
def _alone(uri: str, home: Path) -> Iterator[None]:
    """Hold a lock: two processes that look for the same run at once would both create it.

    The lock also protects the creation of an SQLite store's tables. Such a store has its own lock,
    because its runs may come from several checkouts.
    """
    place = Path(uri.removeprefix(SQLITE)) if uri.startswith(SQLITE) else home / "state/mlflow"
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.with_name(f"{place.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _experiment(client: MlflowClient, uri: str) -> str:
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        # By default, two stores in one folder would share mlruns/1.
        beside = Path(uri.removeprefix(SQLITE)).resolve().parent / "mlruns" / EXPERIMENT
        return client.create_experiment(
            EXPERIMENT,
            artifact_location=beside.as_uri() if uri.startswith(SQLITE) else None,
            tags=KIND,
        )
    for tag, value in KIND.items():
        if tag not in experiment.tags:
            client.set_experiment_tag(experiment.experiment_id, tag, value)
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
    return experiment.experiment_id


def find_run(client: MlflowClient, key: str) -> Run | None:
    """Find the run with that key, if the store has it."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        return None
    runs = client.search_runs([experiment.experiment_id], f"tags.`{KEY}` = '{key}'", max_results=1)
    return runs[0] if runs else None


def _fill(
    client: MlflowClient, run: Run, record: Record, run_name: str, tags: Mapping[str, str]
) -> None:
    from mlflow.entities import Param, RunTag

    number = run.info.run_id
    params = [Param(_allowed(key), _short(value)) for key, value in record.params.items()]
    client.log_batch(number, tags=[RunTag(key, value) for key, value in tags.items()])
    for batch in _batches(params):
        client.log_batch(number, params=batch)
    client.log_inputs(number, datasets=[split.as_input() for split in record.splits])
    models = {network.product: log_network(client, run, network) for network in record.networks}
    for points in _batches(list(_metrics(run, record, models))):
        client.log_batch(number, metrics=points)
    for file in record.files:
        client.log_artifact(number, str(file))
    client.log_text(number, record.params_file, "params.yaml")
    client.update_run(number, name=run_name)
    if run.info.status != "FINISHED":  # saving again does not lengthen the run
        ended = record.span and _milliseconds(record.span.ended)
        client.set_terminated(number, "FINISHED", end_time=ended)


def _metrics(run: Run, record: Record, models: Mapping[str, str]) -> Iterator[Metric]:
    """Yield scores, with the model and the split that they belong to, and losses by epoch."""
    from mlflow.entities import Metric

    made = run.info.start_time  # MLflow drops a repeated point only if its time is the same
    splits = {split.name: split for split in record.splits}
    for key, value in record.metrics.items():
        product = key.split("/")[1] if "/" in key else ""
        split = splits.get(product.rpartition("_")[2])
        yield Metric(
            _allowed(key),
            value,
            made,
            0,
            model_id=models.get(product),
            dataset_name=split.title if split else None,
            dataset_digest=split.digest if split else None,
        )
    for key, curve in record.curves.items():
        for epoch, value in curve:
            yield Metric(_allowed(key), value, made, epoch)


def _milliseconds(seconds: float) -> int:
    return round(1000 * seconds)


def _allowed(name: str) -> str:
    """Replace in `name` what MLflow forbids: it allows letters, digits, blanks and -_./: only."""
    return re.sub(r"[^\w\-./: ]", "_", name)


def _short(value: str) -> str:
    return value if len(value) <= LONGEST_PARAM else value[: LONGEST_PARAM - 1] + "…"


def _batches(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), BATCH):
        yield items[start : start + BATCH]
