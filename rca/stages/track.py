"""Stage `track`: the run as MLflow shows it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from rca.config import Params, Track
from rca.files import new_folder, write_json, write_text
from rca.tracking import store
from rca.tracking.provenance import experiment, provenance
from rca.tracking.record import read_record
from rca.tracking.signature import of_the_run, signed

log = logging.getLogger(__name__)


def run(cfg: Track, params: Params, *, results: Path, out: Path, home: Path = Path()) -> None:
    """Put the run in `results` into the MLflow store, and write `run.json`, which says where.

    Beside it goes a copy of the report that names commit, date and machines; MLflow gets that one.

    Run again, it refills a store that was deleted; a run that is there is not doubled. A DVC
    experiment gives the run its name, unless `cfg` has one.

    Args:
        cfg: section `track`.
        params: the whole configuration, which made the run.
        results: folder of the experiment, evaluated and reported.
        out: folder that gets `run.json` and, where there is a report, its copy.
        home: the user's checkout. There a relative path of an SQLite store begins, and trainings
            have noted their machines.

    Raises:
        ConfigError: the run has not been evaluated, or MLflow is not installed.
    """
    record = read_record(results, params)
    origin = experiment()
    name = cfg.run_name or origin.get("dvc.experiment") or params.experiment
    made = provenance(results, Path("data", params.download.name), home)
    with new_folder(out) as folder:
        files = [_signed(file, results, folder, made) for file in record.files]
        store.save(
            replace(record, files=tuple(files)),
            uri=cfg.uri,
            home=home,
            run_name=name,
            made=made,
            latest=origin,
        )
        write_json(
            folder / "run.json",
            {"experiment": store.EXPERIMENT, "run_name": name, "key": record.key, "uri": cfg.uri},
        )
    log.info("run %s (%s %s) is in %s", name, store.KEY, record.key, cfg.uri)


def _signed(file: Path, results: Path, folder: Path, made: Mapping[str, str]) -> Path:
    """`file`, or if it is the report, its copy in `folder` that names the run."""
    if file != results / "report/report.html":
        return file
    copy = folder / file.name
    write_text(copy, signed(file.read_text(encoding="utf-8"), of_the_run(results, made)))
    return copy
