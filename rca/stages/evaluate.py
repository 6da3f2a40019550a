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
    """Write the scores: `metrics.json`, `miou.json`, `confusion.json` and four CSV tables.

    `miou.json` maps each product to its mIoU alone. `confusion.json` holds matrices of true label ×
    predicted label, with predicted 255 as the last column. The tables are `per_class.csv`,
    `per_image.csv`, `sweep.csv` and `doubt.csv`, which has a row for every image of both splits and
    is made without masks.

    A product is left out if no image of its split has a mask. A network that is not among
    `train_seg.supervisions` is left out too, since its masks are left over from an earlier run.

    Args:
        cfg: The section `evaluate`.
        params: The configuration that made the products; it goes into the protocol.
        index: The folder of the index.
        cams: The folder of the CAM stores `train` and `val`.
        readout: The folder of the stores of posteriors; they are scored with
            `readout.method: prototypes`.
        pseudo_labels: The folder of the label maps of training images.
        crf: The folder of the refined label maps.
        relabel: The folder of the label maps of each round of self-training.
        predictions: The folder of the masks of each of `train_seg.supervisions`.
        out: The folder that gets the scores.

    Raises:
        DataError: A label map is missing, differs from its ground truth in size, or holds a wrong
            value.
        WorkerError: A worker process was killed.
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
        cfg.seed_threshold,
        cfg.processes,
    )
    doubted = doubt_images(read_maskless_index(index), sources, cfg.seed_threshold, cfg.processes)
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
    """List the names of the masks' folders, which in VOC-like data sets tell the masks' origin."""
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
    """Compute each product's mean IoU on each image, from 0 to 1."""
    return {
        product.name: {
            image: mean_present(ious) for image, ious in scores.counts.image_ious().items()
        }
        for product, scores in results.items()
    }


def _sweep(histogram: np.ndarray | None) -> Iterator[tuple[str | float | None, ...]]:
    """Yield the scores at all thresholds on the training images, for analysis only.

    No setting is chosen by them.
    """
    for threshold, *values in [] if histogram is None else sweep.sweep_table(histogram):
        yield f"{threshold:.3f}", *map(score_tables.percent, values)


def _write_table(path: Path, header: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Write a CSV file; None becomes an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)  # one by one: the table of all images is large
    write_text(path, text.getvalue())
