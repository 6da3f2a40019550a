"""Stage `crf`: label maps refined by a dense CRF over the scores of the class maps."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from rca.config import Crf, PseudoLabels
from rca.data.cam_store import CamStore
from rca.data.checksums import unchanged_sums
from rca.data.images import DataError, read_image, write_label_map
from rca.data.index import Record, left_to_label, read_training_index
from rca.labels.crf import dense_crf
from rca.labels.evidence import Evidence, read_evidence, saliency_of, training_records
from rca.labels.rules import label_map
from rca.labels.scores import background_score, crf_scores
from rca.runtime.files import new_folder
from rca.runtime.pool import ordered_map
from rca.runtime.progress import progress
from rca.runtime.state import STATE, WHOLE, Shard, resumable_folder, state_folder


def run(
    cfg: Crf,
    rules: PseudoLabels,
    *,
    index: Path,
    maps: Path,
    labels: Path,
    out: Path,
    state: Path = STATE,
    shard: Shard = WHOLE,
) -> None:
    """Write one refined label map per training image; a killed run resumes.

    Args:
        cfg: The section `crf`; `method: none` copies `labels`.
        rules: The background score of the CRF's input, and the rules for its posteriors.
        index: The folder of the index.
        maps: The folder of stage `readout`.
        labels: The folder of stage `pseudo_labels`.
        out: The folder to make; it is either complete or absent.
        state: The folder of all stages' partial work.
        shard: The share of the images to process. If it is not the whole, its results stay in
            `state`.

    Raises:
        DataError: An image, a class map or a saliency map is missing or does not fit.
        ConfigError: `pydensecrf` is not installed.
        WorkerError: A worker process was killed.
    """
    dataset = read_training_index(index)
    records = training_records(dataset, rules)
    if cfg.method == "none":
        if shard == WHOLE:
            with new_folder(out) as folder:
                _copy(records, labels, folder)
        return
    store = CamStore(maps / "train")
    values = {"crf": cfg.model_dump(exclude={"processes"}), "rules": rules.model_dump()}
    files = _files(records, rules, index, maps)
    sums = unchanged_sums(index, dataset.root)
    done = state_folder(state, __name__, out, values=values, files=files, sums=sums)
    names = [f"{record.image}.png" for record in records]
    with resumable_folder(out, done, names, shard) as folder:
        left = left_to_label(folder, shard.pick(records))
        work = partial(
            _refine_and_write, cfg=cfg, rules=rules, folder=folder, palette=dataset.palette
        )
        evidence = (
            (record.image, read_evidence(store, record, dataset.classes)) for record in left
        )
        for _ in progress(ordered_map(work, evidence, cfg.workers), len(left), "refined"):
            pass


def _files(records: list[Record], rules: PseudoLabels, index: Path, maps: Path) -> Iterator[Path]:
    """Yield the files that are read for the CRF."""
    yield from index.iterdir()
    yield from (maps / "train").iterdir()
    for record in records:
        yield record.file
        if rules.background == "saliency" and record.saliency:
            yield record.saliency


def refine(evidence: Evidence, image: np.ndarray, cfg: Crf, rules: PseudoLabels) -> np.ndarray:
    """Make the label map of one image after the CRF, uint8 (H, W).

    The rules are applied to posteriors, so `uncertain_margin` ignores the pixels that the CRF
    leaves undecided. With `background: saliency`, 1 - saliency replaces the background's posterior,
    as in the released code.
    """
    maps = evidence.maps_at_image_size()
    saliency = saliency_of(evidence.record, rules)
    scores = dense_crf(image, crf_scores(maps, rules), cfg)
    if saliency is not None:
        scores[0] = background_score(maps, rules, saliency)
    return label_map(scores, evidence.classes, rules, cams=maps, saliency=saliency)


def _refine_and_write(
    evidence: Evidence, cfg: Crf, rules: PseudoLabels, folder: Path, palette: np.ndarray
) -> None:
    record = evidence.record
    image = np.asarray(read_image(record.file))
    if image.shape[:2] != (record.height, record.width):
        raise DataError(
            f"{record.file}: {image.shape[1]} × {image.shape[0]} pixels, the index says "
            f"{record.width} × {record.height}; run `rca index` again"
        )
    write_label_map(folder / f"{record.image}.png", refine(evidence, image, cfg, rules), palette)


def _copy(records: list[Record], labels: Path, folder: Path) -> None:
    for record in records:
        source = labels / f"{record.image}.png"
        if not source.exists():
            raise DataError(f"{source}: no such label map; run `rca pseudo-labels` first")
        shutil.copyfile(source, folder / source.name)
