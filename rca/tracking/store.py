"""A run in MLflow: there once, however often it is put there."""

from __future__ import annotations

import fcntl
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rca.config import ConfigError
from rca.tracking.record import Record

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

Item = TypeVar("Item")

EXPERIMENT = "rca"
KEY = "rca.key"
LONGEST_PARAM = 500  # characters; MLflow's limit on older servers
BATCH = 100  # params a request, MLflow's limit
SQLITE = "sqlite:///"


def save(
    record: Record,
    *,
    uri: str,
    run_name: str,
    home: Path = Path(),
    made: Mapping[str, str] = {},
    latest: Mapping[str, str] = {},
) -> None:
    """Put `record` into the MLflow store at `uri`, one process after the other.

    A run of the same key is brought up to date instead of doubled.

    Args:
        record: the run.
        uri: of the tracking server, or of a database.
        run_name: shown in MLflow's lists.
        home: where the relative path of an SQLite database begins.
        made: tags of how the run was made, kept from when it first was put there.
        latest: tags that change with every call, as the name does.

    Raises:
        ConfigError: MLflow is not installed.
    """
    uri = located(uri, home)
    with _alone(uri, home):
        client = _connect(uri)
        experiment = _experiment(client, uri)
        run = _find(client, experiment, record.key) or client.create_run(
            experiment, run_name=run_name, tags={KEY: record.key, **made}
        )
        _fill(client, run, record, run_name, latest)


def located(uri: str, home: Path) -> str:
    """`uri`, with a relative path of an SQLite database taken from `home`."""
    if not uri.startswith(SQLITE):
        return uri
    return f"{SQLITE}{home / uri.removeprefix(SQLITE)}"


def _connect(uri: str) -> MlflowClient:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    try:
        from mlflow import MlflowClient
    except ImportError:
        raise ConfigError(
            "track: MLflow is not installed; install the extra: pip install 'rca-wsss[workflow]'"
        ) from None
    for name in ("mlflow", "alembic"):  # which tell of each table they make
        logging.getLogger(name).setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=uri)


@contextmanager
def _alone(uri: str, home: Path) -> Iterator[None]:
    """One process at a time: two that look for the same run at once would both create it.

    So would several that create the tables of an SQLite store; and its lock is the store's, whose
    runs may come from several checkouts.
    """
    place = Path(uri.removeprefix(SQLITE)) if uri.startswith(SQLITE) else home / "state/mlflow"
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.with_name(f"{place.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _experiment(client: MlflowClient, uri: str) -> str:
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        # By default two stores in one folder would share mlruns/1.
        beside = Path(uri.removeprefix(SQLITE)).resolve().parent / "mlruns" / EXPERIMENT
        return client.create_experiment(
            EXPERIMENT, artifact_location=beside.as_uri() if uri.startswith(SQLITE) else None
        )
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
    return experiment.experiment_id


def _find(client: MlflowClient, experiment: str, key: str) -> Run | None:
    runs = client.search_runs([experiment], f"tags.`{KEY}` = '{key}'", max_results=1)
    return runs[0] if runs else None


def _fill(
    client: MlflowClient, run: Run, record: Record, run_name: str, tags: Mapping[str, str]
) -> None:
    from mlflow.entities import Metric, Param, RunTag

    number = run.info.run_id
    made = run.info.start_time  # the same point at the same time is the same to MLflow
    metrics = [Metric(_allowed(key), value, made, 0) for key, value in record.metrics.items()]
    metrics += [
        Metric(_allowed(key), value, made, epoch)
        for key, curve in record.curves.items()
        for epoch, value in curve
    ]
    params = [Param(_allowed(key), _short(value)) for key, value in record.params.items()]
    client.log_batch(number, tags=[RunTag(key, value) for key, value in tags.items()])
    for batch in _batches(params):
        client.log_batch(number, params=batch)
    for points in _batches(metrics):
        client.log_batch(number, metrics=points)
    for file in record.files:
        client.log_artifact(number, str(file))
    client.log_text(number, record.params_file, "params.yaml")
    client.update_run(number, name=run_name)
    if run.info.status != "FINISHED":  # a repeat does not make it longer
        client.set_terminated(number, "FINISHED")


def _allowed(name: str) -> str:
    """`name` with what MLflow takes in a name: letters, digits, and -_./: and blanks."""
    return re.sub(r"[^\w\-./: ]", "_", name)


def _short(value: str) -> str:
    return value if len(value) <= LONGEST_PARAM else value[: LONGEST_PARAM - 1] + "…"


def _batches(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), BATCH):
        yield items[start : start + BATCH]
