"""Stage `track`: record the run in MLflow."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from rca.config import Params, Track
from rca.data.index import Index, read_index
from rca.data.nested import flat
from rca.evaluation.products import NETWORKS
from rca.inference.model import load
from rca.runtime.files import new_folder, write_json, write_text
from rca.tracking import store
from rca.tracking.dataset import Split
from rca.tracking.networks import Network
from rca.tracking.provenance import PROVENANCE, experiment, provenance
from rca.tracking.record import read_record
from rca.tracking.signature import of_the_run, scored_at, signed

log = logging.getLogger(__name__)

# The network's name in MLflow, by the supervision it was trained on.
NAMES = {
    **{supervision: f"segmentation_{supervision}" for supervision in NETWORKS},
    "pseudo": "segmentation",
    "truth": "segmentation_true_masks",
}


def run(cfg: Track, params: Params, *, results: Path, out: Path, home: Path = Path()) -> None:
    """Save the run in `results` to the MLflow store, and write `run.json`, which says where.

    Beside `run.json` go `provenance.json`, with the commit and the machines, for
    `rca compare --page`, and a copy of the report that names them, too; MLflow gets this copy.

    A second call refills a store that was deleted, and updates a run that exists instead of adding
    a duplicate. A DVC experiment gives the run its name, unless `cfg` has one. If a tracking server
    does not answer within some seconds, a warning is logged: the run is complete without it.

    Args:
        cfg: The section `track`.
        params: The whole configuration that made the run.
        results: The folder of the experiment, evaluated and reported.
        out: The folder that gets `run.json` and, if there is a report, its copy.
        home: The user's checkout. The relative path of an SQLite store starts there, and trainings
            have recorded their machines there.

    Raises:
        ConfigError: The run has not been evaluated, or MLflow is not installed.
    """
    record = read_record(results, params)
    origin = experiment()
    name = cfg.run_name or origin.get("dvc.experiment") or params.experiment
    note = {"experiment": store.EXPERIMENT, "run_name": name, "key": record.key, "uri": cfg.uri}
    made = provenance(results, Path("data", params.download.name), home)
    with new_folder(out) as folder, tempfile.TemporaryDirectory() as scratch:
        record = replace(
            record,
            files=tuple(_signed(file, results, folder, made) for file in record.files),
            splits=tuple(_splits(read_index(results / "index"), params)),
            networks=tuple(_networks(results, params, Path(scratch))),
        )
        try:
            place = store.save(
                record,
                uri=cfg.uri,
                home=home,
                run_name=name,
                made=made,
                latest=origin,
            )
            address = store.address(store.located(cfg.uri, home), place)
            log.info("run %s (%s %s): %s", name, store.KEY, record.key, address)
        except store.AwayError as error:
            place = None
            log.warning(
                "the run is not in MLflow, because the tracking server cannot be reached (%s); "
                "nothing else is missing. Later: rca track --results %s --out %s",
                error,
                results,
                out,
            )
        write_json(folder / "run.json", {**note, "saved": place is not None})
        write_json(folder / PROVENANCE, made)


def _signed(file: Path, results: Path, folder: Path, made: Mapping[str, str]) -> Path:
    """Return `file` or, if it is the report, a copy in `folder` that names the run's origin."""
    terms = of_the_run(made, scored_at(results))
    if file != results / "report/report.html":
        return file
    copy = folder / file.name
    write_text(copy, signed(file.read_text(encoding="utf-8"), terms))
    return copy


def _splits(index: Index, params: Params) -> Iterator[Split]:
    """Yield each split that has images.

    Its digest covers the images' names, sizes and tags, and whether they have masks.
    """
    for name in ("train", "val"):
        records = index.split(name)
        rows = [
            f"{record.image},{record.width},{record.height},{';'.join(record.tags)},"
            f"{record.mask is not None}\n"
            for record in records
        ]
        if rows:
            yield Split(
                name=name,
                data=params.download.name,
                digest=hashlib.sha256("".join(rows).encode()).hexdigest()[:16],
                folder=index.root.as_posix(),
                profile={
                    "images": len(records),
                    "with_masks": sum(record.mask is not None for record in records),
                    "classes": list(index.classes),
                },
            )


def _networks(results: Path, params: Params, folder: Path) -> Iterator[Network]:
    """Yield the run's networks, each saved to `folder` as one self-contained file."""
    for supervision in params.train_seg.supervisions:
        model = load(results / "train_seg" / supervision, device="cpu")
        file = folder / supervision / "weights.safetensors"
        model.save(file)
        settings = dict(flat(model.settings.model_dump(mode="json")))
        yield Network(
            name=NAMES[supervision],
            product=NETWORKS[supervision],
            weights=file,
            settings={key: str(value) for key, value in settings.items()},
            crf=model.settings.infer_seg.crf,
        )
