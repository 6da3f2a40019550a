"""Models in MLflow's registry: a name, its versions, and an alias for the version in use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rca.config import ConfigError
from rca.tracking.networks import find_network
from rca.tracking.store import connect, find_run, located

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel


class Registered(NamedTuple):
    """A version in the registry, and the address that always leads to the alias's version."""

    version: str
    address: str


def register(
    results: Path, *, name: str, alias: str, network: str = "segmentation", home: Path = Path()
) -> Registered:
    """Register the network of a tracked run as a version of `name`, and point `alias` to it.

    The same network registered again keeps its version. Tags of the version are the settings by
    which it segments photographs, its mIoU with the data it was measured on, and the experiment.

    Args:
        results: The folder of the experiment, tracked.
        name: The name of the registered model, which is created if it does not exist.
        alias: The alias that points to this version from now on.
        network: The name of the network in MLflow.
        home: The folder from which a relative path of an SQLite store is resolved.

    Raises:
        ConfigError: The run was not tracked, is not in the store or has no such network, or MLflow
            does not allow the name.
    """
    note = _note(results)
    client = connect(located(note["uri"], home))
    from mlflow.exceptions import MlflowException  # here, after `connect`: it may be missing

    run = find_run(client, note["key"])
    model = find_network(client, run, network) if run else None
    if model is None:
        raise ConfigError(
            f"{note['uri']}: has no model {network} of {results}; put it there: "
            f"rca track --results {results} --out {results}/track"
        )
    try:
        version = _version(client, name, model) or _new_version(client, name, model, results.name)
        client.set_registered_model_alias(name, alias, version)
    except MlflowException as error:
        raise ConfigError(f"register: {name}, {alias}: {str(error).splitlines()[0]}") from None
    return Registered(version, f"models:/{name}@{alias}")


def _note(results: Path) -> dict[str, str]:
    file = results / "track/run.json"
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"{file}: no such file; track the run first: "
            f"rca track --results {results} --out {results}/track"
        ) from None


def _version(client: MlflowClient, name: str, model: LoggedModel) -> str | None:
    """Find the version of `name` that is this model, if there is one."""
    for version in client.search_model_versions(f"name = '{name}'"):
        if version.source == _source(model):
            return str(version.version)
    return None


def _new_version(client: MlflowClient, name: str, model: LoggedModel, experiment: str) -> str:
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    scores = {
        metric.key: f"{metric.value:g} on {metric.dataset_name} {metric.dataset_digest}"
        for metric in model.metrics or []
        if metric.key.startswith("miou/")
    }
    made = client.create_model_version(
        name,
        source=_source(model),
        run_id=model.source_run_id,
        model_id=model.model_id,
        tags={**model.params, **scores, "experiment": experiment},
    )
    return str(made.version)


def _source(model: LoggedModel) -> str:
    return f"models:/{model.model_id}"
