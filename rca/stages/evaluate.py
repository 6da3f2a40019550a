"""Stage `evaluate`: score every intermediate product against the true masks."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from rca.config import Evaluate, PseudoLabels
from rca.data.cam_store import CamStore
from rca.data.images import DataError, read_mask
from rca.data.index import Index, Record, read_index
from rca.evaluation import sweep, tables
from rca.evaluation.confusion import Policy, confusion_matrix
from rca.evaluation.protocol import PRODUCTS, Product, protocol
from rca.files import new_folder, write_json, write_text
from rca.labels.scores import upsample_cams
from rca.progress import progress

log = logging.getLogger(__name__)

Predict = Callable[[Record], tuple[Path, np.ndarray]]  # the file it comes from, and the label map


def run(
    cfg: Evaluate,
    rules: PseudoLabels,
    *,
    index: Path,
    cams: Path,
    pseudo_labels: Path,
    crf: Path,
    predictions: Path,
    out: Path,
    pretrained: bool = True,
    supervisions: Sequence[str] = ("pseudo", "truth"),
) -> None:
    """Write `metrics.json`, `per_class.csv`, `per_image.csv`, `confusion.json` and `sweep.csv`.

    A product is left out if no image of its split has a mask. `confusion.json` holds true label ×
    predicted label, with predicted 255 as the last column.

    Args:
        cfg: section `evaluate`.
        rules: section `pseudo_labels`; its `threshold` makes the CAM seeds.
        index: folder of the index.
        cams: folder of the CAM stores `train` and `val`.
        pseudo_labels: folder of the label maps of training images.
        crf: folder of the refined label maps.
        predictions: folder with `pseudo` and maybe `truth`, the networks' masks.
        out: folder that gets the tables.
        pretrained: whether the networks started from ImageNet weights; goes into the protocol.
        supervisions: of the networks that belong to the run; masks of others are left-overs.

    Raises:
        DataError: a label map is missing, of another size than its truth, or holds a wrong value.
    """
    data = read_index(index)
    predict = {
        "all_background_val": _all_background,
        "cam_seeds_train": _cam_seeds(cams / "train", rules.threshold),
        "pseudo_labels_train": _label_maps(pseudo_labels),
        "crf_train": _label_maps(crf),
        "cam_seeds_val": _cam_seeds(cams / "val", rules.threshold),
        "network_val": _label_maps(predictions / "pseudo"),
    }
    if "truth" in supervisions and (predictions / "truth").is_dir():
        predict["fully_supervised_val"] = _label_maps(predictions / "truth")
    policy = cfg.ignored_predictions
    results: dict[Product, tables.Result] = {}
    for product in PRODUCTS:
        if product.name in predict and (records := _with_masks(data, product)):
            results[product] = _count(data, records, product, predict[product.name], policy)
    how = protocol(
        cfg,
        rules,
        classes=data.classes,
        mask_source=_mask_source(data),
        products=results,
        pretrained=pretrained,
    )
    names = how["classes"]
    matrices = {product.name: result.matrix.tolist() for product, result in results.items()}
    with new_folder(out) as folder:
        numbers = tables.metrics(results, names, policy)
        write_json(folder / "metrics.json", {**numbers, "protocol": how})
        write_json(folder / "confusion.json", {"classes": names, **matrices})
        per_class = tables.per_class(results, names, policy)
        _write_table(folder / "per_class.csv", tables.PER_CLASS, per_class)
        _write_table(folder / "per_image.csv", tables.PER_IMAGE, tables.per_image(results))
        _write_table(folder / "sweep.csv", sweep.COLUMNS, _sweep(data, cams / "train"))


def _with_masks(data: Index, product: Product) -> list[Record]:
    """The images of the product's split that have a mask."""
    records = data.split(product.split)
    masked = [record for record in records if record.mask]
    if not masked:
        log.info("%s left out: no %s image has a mask", product.name, product.split)
    elif len(masked) < len(records):
        log.info("%s: %d of %d images have a mask", product.name, len(masked), len(records))
    return masked


def _mask_source(data: Index) -> str:
    """The folders that the masks lie in, which VOC-like data sets name by their origin."""
    folders = {record.mask.parent.name for record in data.records if record.mask}
    return ", ".join(sorted(folders)) or "none"


def _all_background(record: Record) -> tuple[Path, np.ndarray]:
    return record.file, np.zeros((record.height, record.width), np.uint8)


def _label_maps(folder: Path) -> Predict:
    def predict(record: Record) -> tuple[Path, np.ndarray]:
        path = folder / f"{record.image}.png"
        return path, read_mask(path)

    return predict


def _cam_seeds(folder: Path, threshold: float) -> Predict:
    def predict(record: Record) -> tuple[Path, np.ndarray]:
        classes, cams = store().read(record.image)
        cams = upsample_cams(cams, record.height, record.width)
        return store().files[record.image], sweep.seeds(classes, cams, threshold)

    store = cache(lambda: CamStore(folder))  # a split without masks may have none
    return predict


def _count(
    data: Index, records: Sequence[Record], product: Product, predict: Predict, policy: Policy
) -> tables.Result:
    classes = len(data.classes)
    result = tables.Result(np.zeros((classes + 1, classes + 2), np.int64))
    for record in progress(records, len(records), product.name):
        path, labels = predict(record)
        try:
            matrix = confusion_matrix(data.truth(record), labels, classes)
        except ValueError as error:
            raise DataError(f"{path} cannot be held against {record.mask}: {error}") from None
        result.add(record.image, matrix, policy)
    return result


def _sweep(data: Index, folder: Path) -> list[tuple[str | float | None, ...]]:
    """All thresholds on the training images, for analysis; nothing is chosen by them."""
    records = [record for record in data.split("train") if record.mask]
    if not records:
        return []
    store = CamStore(folder)
    counts = np.int64(0)
    for record in progress(records, len(records), "threshold sweep"):
        classes, cams = store.read(record.image)
        labels, scores = sweep.winner(classes, upsample_cams(cams, record.height, record.width))
        counts = counts + sweep.histogram(data.truth(record), labels, scores, len(data.classes))
    return [
        (f"{threshold:.3f}", *map(tables.percent, values))
        for threshold, *values in sweep.sweep_table(counts)
    ]


def _write_table(path: Path, header: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """A CSV file; None becomes an empty cell."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    write_text(path, text.getvalue())
