"""Stage `track`: the run as MLflow shows it."""

from __future__ import annotations

import logging
from pathlib import Path

from rca.config import Params, Track
from rca.files import new_folder, write_json
from rca.tracking import store
from rca.tracking.provenance import experiment, provenance
from rca.tracking.record import read_record

log = logging.getLogger(__name__)


def run(cfg: Track, params: Params, *, results: Path, out: Path, home: Path = Path()) -> None:
    """Put the run in `results` into the MLflow store, and write `run.json`, which says where.

    Run again, it refills a store that was deleted; a run that is there is not doubled. A DVC
    experiment gives the run its name, unless `cfg` has one.

    Args:
        cfg: section `track`.
        params: the whole configuration, which made the run.
        results: folder of the experiment, evaluated and reported.
        out: folder that gets `run.json`.
        home: the user's checkout. There a relative path of an SQLite store begins, and trainings
            have noted their machines.

    Raises:
        ConfigError: the run has not been evaluated, or MLflow is not installed.
    """
    record = read_record(results, params)
    origin = experiment()
    name = cfg.run_name or origin.get("dvc.experiment") or params.experiment
    store.save(
        record,
        uri=cfg.uri,
        home=home,
        run_name=name,
        made=provenance(results, Path("data", params.download.name), home),
        latest=origin,
    )
    with new_folder(out) as folder:
        write_json(
            folder / "run.json",
            {"experiment": store.EXPERIMENT, "run_name": name, "key": record.key, "uri": cfg.uri},
        )
    log.info("run %s (%s %s) is in %s", name, store.KEY, record.key, cfg.uri)
