"""Stage `evaluate`: score every intermediate product against the true masks."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rca.config import Evaluate, Params
from rca.data.index import Index, read_index, read_maskless_index
from rca.evaluation import score_tables, sweep
from rca.evaluation.confusion import mean_present
from rca.evaluation.count_images import Source, count_images, with_masks
from rca.evaluation.doubt_images import COLUMNS, Doubted, doubt_images, foretold
from rca.evaluation.pixel_counts import Rules
from rca.evaluation.products import PRODUCTS, Product
from rca.evaluation.protocol import protocol
from rca.runtime.files import new_folder, write_json, write_text


def run(
    cfg: Evaluate,
    params: Params,
    *,
    index: Path,
    cams: Path,
    readout: Path,
    pseudo_labels: Path,
    crf: Path,
    relabel: Path,
    predictions: Path,
    out: Path,
) -> None:
    """Write the scores: `metrics.json`, `miou.json`, three CSV tables and `confusion.json`.

    And `doubt.csv`, a row for every image of both splits, for which no mask is read.

    A product is left out if no image of its split has a mask, and a network that is not among
    `train_seg.supervisions`: its masks are left-overs. `miou.json` is product → mIoU alone;
    `confusion.json` holds true label × predicted label, with predicted 255 as the last column.

    Args:
        cfg: section `evaluate`.
        params: the configuration that made the products; it goes into the protocol.
        index: folder of the index.
        cams: folder of the CAM stores `train` and `val`.
        readout: folder of the stores of posteriors; scored with `readout.method: prototypes`.
        pseudo_labels: folder of the label maps of training images.
        crf: folder of the refined label maps.
        relabel: folder with the label maps of each round of self-training.
        predictions: folder with the masks of each of `train_seg.supervisions`.
        out: folder that gets the tables.

    Raises:
        DataError: a label map is missing, of another size than its truth, or holds a wrong value.
        WorkerError: a worker process was killed.
    """
    data = read_index(index)
    sources = {
        "all_background_val": Source("background", index),
        "cam_seeds_train": Source("cams", cams / "train"),
        "pseudo_labels_train": Source("maps", pseudo_labels),
        "crf_train": Source("maps", crf),
        "cam_seeds_val": Source("cams", cams / "val"),
        "network_val": Source("maps", predictions / "pseudo"),
    }
    if params.readout.method == "prototypes":
        for split in ("train", "val"):
            sources[f"readout_{split}"] = Source("posteriors", readout / split)
    for name in params.relabel.teachers:
        sources[f"{name}_train"] = Source("maps", relabel / name)
        sources[f"{name}_val"] = Source("maps", predictions / name)
    if "truth" in params.train_seg.supervisions and (predictions / "truth").is_dir():
        sources["fully_supervised_val"] = Source("maps", predictions / "truth")
    masked = {split: with_masks(data, split) for split in ("train", "val")}
    scored = {
        product: sources[product.name]
        for product in PRODUCTS
        if product.name in sources and masked[product.split]
    }
    policy = cfg.ignored_predictions
    counts, histogram = count_images(
        data,
        masked,
        scored,
        Rules(len(data.classes), policy, cfg.boundary),
        params.pseudo_labels.threshold,
        cfg.processes,
    )
    threshold = params.pseudo_labels.threshold
    doubted = doubt_images(read_maskless_index(index), sources, threshold, cfg.processes)
    results = {
        product: score_tables.Scores(counts[product.name], policy, cfg.resamples, params.seed)
        for product in scored
    }
    how = protocol(
        params,
        classes=data.classes,
        mask_source=_mask_source(data),
        source=data.source or {},
        images={
            split: [record.image for record in records]
            for split, records in masked.items()
            if records
        },
        products=scored,
    )
    with new_folder(out) as folder:
        _write(folder, results, how, params.seed, histogram, doubted)


def _mask_source(data: Index) -> str:
    """The folders that the masks lie in, which VOC-like data sets name by their origin."""
    folders = {record.mask.parent.name for record in data.records if record.mask}
    return ", ".join(sorted(folders)) or "none"


def _write(
    folder: Path,
    results: Mapping[Product, score_tables.Scores],
    how: dict[str, Any],
    seed: int,
    histogram: np.ndarray | None,
    doubted: Sequence[Doubted],
) -> None:
    names = how["classes"]
    numbers = {**score_tables.metrics(results, names), "doubt": foretold(doubted, _means(results))}
    write_json(folder / "metrics.json", {**numbers, "seed": seed, "protocol": how})
    write_json(folder / "miou.json", numbers["miou"])
    matrices = {product.name: scores.counts.matrix.tolist() for product, scores in results.items()}
    write_json(folder / "confusion.json", {"classes": names, **matrices})
    _write_table(
        folder / "confusion.csv", score_tables.CONFUSION, score_tables.confusions(results, names)
    )
    _write_table(
        folder / "per_class.csv", score_tables.PER_CLASS, score_tables.per_class(results, names)
    )
    header = (*score_tables.PER_IMAGE, *(f"iou_{name}" for name in names))
    _write_table(folder / "per_image.csv", header, score_tables.per_image(results))
    _write_table(folder / "sweep.csv", sweep.COLUMNS, _sweep(histogram))
    _write_table(folder / "doubt.csv", COLUMNS, (one.row() for one in doubted))


def _means(results: Mapping[Product, score_tables.Scores]) -> dict[str, dict[str, float]]:
    """Product → image → mean IoU, from 0 to 1."""
    return {
        product.name: {
            image: mean_present(ious) for image, ious in scores.counts.image_ious().items()
        }
        for product, scores in results.items()
    }


def _sweep(histogram: np.ndarray | None) -> Iterator[tuple[str | float | None, ...]]:
    """All thresholds on the training images, for analysis; nothing is chosen by them."""
    for threshold, *values in [] if histogram is None else sweep.sweep_table(histogram):
        yield f"{threshold:.3f}", *map(score_tables.percent, values)


def _write_table(path: Path, header: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """A CSV file; None becomes an empty cell."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    write_text(path, text.getvalue())
