"""The `metrics.json` of a finished run, found by the run's name in DVC or MLflow."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from rca.config import ConfigError
from rca.tracking.store import EXPERIMENT, SQLITE, connect, located

METRICS = "metrics.json"


def find_metrics(name: str, *, uri: str, home: Path) -> dict[str, Any] | None:
    """Find the metrics of the DVC experiment `name`, or of the MLflow run of this name or id.

    Args:
        name: The name of the run; for DVC, any Git revision.
        uri: The URI of the MLflow store.
        home: The user's checkout, from which a relative path of an SQLite store is resolved.

    Returns:
        The metrics, or None if neither knows the name.

    Raises:
        ConfigError: Several MLflow runs have the name, or the run was not evaluated.
    """
    found = _of_dvc(name, home)
    return found if found is not None else _of_mlflow(name, located(uri, home))


def _of_dvc(name: str, home: Path) -> dict[str, Any] | None:
    try:
        from dvc.api import DVCFileSystem
        from dvc.exceptions import DvcException
        from dvc.scm import RevError, SCMError
    except ImportError:
        return None
    logging.getLogger("dvc").setLevel(logging.ERROR)
    try:
        files = DVCFileSystem(str(home), rev=name)
        params = yaml.safe_load(files.read_text("params.yaml"))
    except (RevError, SCMError, DvcException, FileNotFoundError):
        return None  # no repository, no such experiment, or none of this project
    path = f"results/{params['experiment']}/evaluate/{METRICS}"
    try:
        return json.loads(files.read_text(path))
    except FileNotFoundError:
        raise ConfigError(
            f"{name}: this DVC experiment has no {path}, or DVC's cache lacks it; run it to the "
            "end, or `dvc pull`"
        ) from None


def _of_mlflow(name: str, uri: str) -> dict[str, Any] | None:
    if uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).is_file():
        return None  # connecting would create it
    client = connect(uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        return None
    from mlflow.exceptions import MlflowException

    quoted = name.replace("'", "\\'")
    found = client.search_runs([experiment.experiment_id], f"attributes.run_name = '{quoted}'")
    runs = list(found)
    if not runs:
        try:
            runs = [client.get_run(name)]
        except MlflowException:
            return None
    if len(runs) > 1:
        ids = ", ".join(run.info.run_id for run in runs)
        raise ConfigError(f"{name}: {len(runs)} MLflow runs have this name; say which by id: {ids}")
    with TemporaryDirectory() as folder:
        try:
            path = client.download_artifacts(runs[0].info.run_id, METRICS, folder)
        except (MlflowException, OSError):
            raise ConfigError(
                f"{name}: this MLflow run has no {METRICS}, or its files are gone"
            ) from None
        return json.loads(Path(path).read_text(encoding="utf-8"))
