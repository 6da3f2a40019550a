"""Finished runs, found by folder, by file, or by their name in DVC or MLflow."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from rca.config import ConfigError
from rca.data.checksums import sha256_of
from rca.tracking.provenance import PROVENANCE, SCORES
from rca.tracking.signature import of_the_run, scored_at
from rca.tracking.store import EXPERIMENT, SQLITE, connect, located

METRICS = "metrics.json"
REPEAT = "snakemake --cores all     # or: dvc repro"


@dataclass(frozen=True)
class Found:
    """A finished run.

    Attributes:
        metrics: The scores that stage `evaluate` wrote.
        terms: The commit, the date and the machines, as far as they are known.
        repeat: The commands that repeat the run, one per line.
        folder: The folder of its results, if it is on this machine.
    """

    metrics: dict[str, Any]
    terms: tuple[tuple[str, str], ...] = ()
    repeat: str = ""
    folder: Path | None = None


def of_place(name: str) -> Found | None:
    """Find the run whose folder or `metrics.json` is `name`; None if there is no such place.

    Raises:
        ConfigError: The place holds no scores.
    """
    place = Path(name)
    file = place / SCORES if place.is_dir() else place
    if not (file.is_file() or place.is_dir() or place.suffix == ".json"):
        return None
    try:
        metrics = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{file}: no such file; run `rca evaluate` first") from None
    except ValueError as error:
        raise ConfigError(f"{file}: not valid JSON ({error}); run `rca evaluate` again") from None
    if not isinstance(metrics, dict) or not {"miou", "products", "protocol"} <= set(metrics):
        raise ConfigError(f"{file}: not a metrics.json of `rca evaluate`")
    check = f"sha256sum {file.as_posix()}\n# {sha256_of(file)}"
    if file == place:
        return Found(metrics, repeat=f"# its parameters: ask where the file is from\n{check}")
    tags = _noted(place / "track" / PROVENANCE)
    unknown = [] if "git.commit" in tags else [("Commit", "not noted; stage track notes it")]
    page = f"# as params.yaml: the parameters at the foot of {place.as_posix()}/report/report.html"
    return Found(
        metrics,
        (*unknown, *of_the_run(tags, scored_at(place))),
        "\n".join([*_checkout(tags), page, REPEAT, check]),
        place,
    )


def _noted(file: Path) -> dict[str, str]:
    """Read what stage `track` noted of how the run was made; {} if there is no usable note."""
    try:
        tags = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return tags if isinstance(tags, dict) else {}


def _checkout(tags: Mapping[str, str]) -> list[str]:
    commit = tags.get("git.commit")
    return [f"git checkout {commit}"] if commit else []


def of_name(name: str, *, uri: str, home: Path) -> Found | None:
    """Find the DVC experiment `name`, or the MLflow run of this name or id.

    Args:
        name: The name of the run; for DVC, any Git revision.
        uri: The URI of the MLflow store.
        home: The user's checkout, from which a relative path of an SQLite store is resolved.

    Returns:
        The run, or None if neither knows the name.

    Raises:
        ConfigError: Several MLflow runs have the name, or the run was not evaluated.
    """
    found = _of_dvc(name, home)
    return found if found is not None else _of_mlflow(name, located(uri, home))


def _of_dvc(name: str, home: Path) -> Found | None:
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
    path = f"results/{params['experiment']}/{SCORES}"
    try:
        metrics = json.loads(files.read_text(path))
    except FileNotFoundError:
        raise ConfigError(
            f"{name}: this DVC experiment has no {path}, or DVC's cache lacks it; run it to the "
            "end, or `dvc pull`"
        ) from None
    commit = files.repo.get_rev()
    made = datetime.fromtimestamp(files.repo.scm.resolve_commit(commit).commit_time, UTC)
    terms = (("DVC experiment", name), *of_the_run({"git.commit": commit}, made))
    return Found(metrics, terms, f"dvc exp apply {name}     # or: git checkout {commit}\ndvc repro")


def _of_mlflow(name: str, uri: str) -> Found | None:
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
    number, tags, ended = runs[0].info.run_id, runs[0].data.tags, runs[0].info.end_time
    with TemporaryDirectory() as folder:
        try:
            path = client.download_artifacts(number, METRICS, folder)
        except (MlflowException, OSError):
            raise ConfigError(
                f"{name}: this MLflow run has no {METRICS}, or its files are gone"
            ) from None
        metrics = json.loads(Path(path).read_text(encoding="utf-8"))
    made = datetime.fromtimestamp(ended / 1000, UTC) if ended else None
    terms = (("MLflow run", f"{name} ({number})"), *of_the_run(tags, made))
    page = f"# as params.yaml: params.yaml of MLflow run {number}"
    return Found(metrics, terms, "\n".join([*_checkout(tags), page, REPEAT]))
