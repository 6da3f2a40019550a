"""Stage `track`: the run as MLflow shows it."""

from __future__ import annotations

import logging
from pathlib import Path

from rca.config import Params, Track
from rca.files import new_folder, write_json
from rca.tracking import store
from rca.tracking.record import read_record

log = logging.getLogger(__name__)


def run(cfg: Track, params: Params, *, results: Path, out: Path) -> None:
    """Put the run in `results` into the MLflow store, and write `run.json`, which says where.

    Run again, it refills a store that was deleted; a run that is there is not doubled.

    Args:
        cfg: section `track`.
        params: the whole configuration, which made the run.
        results: folder of the experiment, evaluated and reported.
        out: folder that gets `run.json`.

    Raises:
        ConfigError: the run has not been evaluated, or MLflow is not installed.
    """
    record = read_record(results, params)
    name = cfg.run_name or params.experiment
    store.save(record, uri=cfg.uri, run_name=name)
    with new_folder(out) as folder:
        write_json(
            folder / "run.json",
            {"experiment": store.EXPERIMENT, "run_name": name, "key": record.key, "uri": cfg.uri},
        )
    log.info("run %s (%s %s) is in %s", name, store.KEY, record.key, cfg.uri)
