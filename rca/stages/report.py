"""Stage `report`: one page that shows what every stage made, and how good it is."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from rca.config import PseudoLabels, Report
from rca.data.cam_store import CamStore
from rca.data.images import DataError, read_image, read_mask
from rca.data.index import Index, read_index
from rca.drawing.charts import history_charts, sweep_chart
from rca.drawing.gallery import Gallery, Layer
from rca.drawing.overlays import draw_cam, draw_labels
from rca.drawing.page import render
from rca.drawing.poster import TILE, poster
from rca.evaluation import summary
from rca.evaluation.protocol import in_words
from rca.evaluation.published.tables import beside_the_paper
from rca.evaluation.ranking import best_and_worst, evenly, spread
from rca.files import new_folder, write_text
from rca.labels.scores import upsample_cams

POSTER_ROWS = 6
POSTER_COLUMNS = ("Photograph", "CAM", "Prediction", "Truth")
RANKING = {"val": "network_val", "train": "crf_train"}
TRAININGS = {
    "train_cam": "Classification network",
    "train_seg/pseudo": "Segmentation network",
    "train_seg/truth": "Segmentation network, true masks",
}


def run(
    cfg: Report,
    rules: PseudoLabels,
    *,
    index: Path,
    results: Path,
    out: Path,
    parameters: Mapping[str, Any] | None = None,
) -> None:
    """Write `report.html`, which needs no other file, and `panels.png`, a picture for elsewhere.

    Works without true masks, and without a network trained on them.

    Args:
        cfg: section `report`.
        rules: section `pseudo_labels`, for the threshold of the CAM seeds.
        index: folder of the index.
        results: folder of the experiment, with a folder for each earlier stage.
        out: folder that gets the two files.
        parameters: what the page shows as the configuration; by default the two sections.

    Raises:
        DataError: a stage's output is missing.
    """
    data = read_index(index)
    scores = summary.image_scores(_read_table(results / "evaluate/per_image.csv"))
    colours = {
        name: "#" + bytes(data.palette[label]).hex()
        for label, name in enumerate(data.classes, start=1)
    }
    galleries = _galleries(data, results, rules.threshold, scores)
    shown = parameters or {"pseudo_labels": rules.model_dump(), "report": cfg.model_dump()}
    page = render(
        experiment=results.name,
        colours=colours,
        images={split: len(gallery.tags) for split, gallery in galleries.items()},
        **_numbers(results, rules.threshold),
        trainings={
            title: history_charts(_read_numbers(results / folder / "history.csv"))
            for folder, title in TRAININGS.items()
            if (results / folder).is_dir()
        },
        galleries={
            "val": _panels(galleries["val"], "val", cfg.panels),
            "train": _panels(galleries["train"], "train", cfg.training_panels),
        },
        parameters=yaml.safe_dump(dict(shown), sort_keys=False, allow_unicode=True),
    )
    with new_folder(out) as folder:
        write_text(folder / "report.html", page)
        _poster(galleries["val"], colours).save(folder / "panels.png", optimize=True)


def _numbers(results: Path, threshold: float) -> dict[str, Any]:
    """The page's variables that come from stage `evaluate`."""
    metrics = json.loads(_read_text(results / "evaluate/metrics.json"))
    counts = json.loads(_read_text(results / "evaluate/confusion.json"))
    sweep = _read_numbers(results / "evaluate/sweep.csv")
    shares = summary.confusion_shares(counts.get("network_val", []))
    return {
        "protocol": in_words(metrics["protocol"]),
        "names": metrics["protocol"]["classes"],
        "miou": metrics["miou"],
        "stages": summary.stage_rows(metrics),
        "evaluators": summary.evaluator_rows(metrics),
        "paper": beside_the_paper(metrics),
        "confusion": shares,
        "confusions": summary.confusions(shares, counts["classes"]),
        "threshold": threshold,
        "best_threshold": summary.best_threshold(sweep),
        "sweep": sweep_chart(sweep, threshold) if sweep else "",
    }


def _galleries(
    data: Index, results: Path, threshold: float, scores: Mapping[str, Mapping[str, float]]
) -> dict[str, Gallery]:
    """The images of each split, with what is shown of them."""
    records = {record.image: record for record in data.records}
    paint = partial(draw_labels, palette=data.palette)

    def cams(split: str) -> Layer:
        def read(image: str) -> np.ndarray:
            _, maps = store().read(image)
            maps = upsample_cams(maps, records[image].height, records[image].width)
            return maps.max(axis=0, initial=0)

        store = cache(lambda: CamStore(results / "infer_cam" / split))
        return Layer("CAM", f"cam_seeds_{split}", read, partial(draw_cam, threshold=threshold))

    def labels(title: str, product: str, folder: str) -> Layer:
        maps = results / folder
        return Layer(title, product, lambda image: read_mask(maps / f"{image}.png"), paint)

    def truth(image: str) -> np.ndarray | None:
        return data.truth(records[image]) if records[image].mask else None

    networks = [labels("Prediction", "network_val", "infer_seg/pseudo")]
    if (results / "infer_seg/truth").is_dir():
        networks.append(labels("Trained on truth", "fully_supervised_val", "infer_seg/truth"))
    made = [
        labels("Pseudo-label", "pseudo_labels_train", "pseudo_labels"),
        labels("After CRF", "crf_train", "crf"),
    ]
    return {
        split: Gallery(
            tags={record.image: record.tags for record in data.split(split)},
            photo=lambda image: read_image(records[image].file),
            layers=[cams(split), *layers, Layer("Truth", None, truth, paint)],
            scores=scores,
        )
        for split, layers in (("val", networks), ("train", made))
    }


def _panels(gallery: Gallery, split: str, count: int) -> dict[str, list[dict[str, Any]]]:
    """The best and the worst images; where none is scored, some at equal distances."""
    scores = gallery.scores.get(RANKING[split], {})
    best, worst = best_and_worst(scores, count)
    groups = {"best": best, "worst": worst}
    if not scores:
        groups = {"any": evenly(list(gallery.tags), count)}
    return {
        group: [gallery.panel(image) for image in images]
        for group, images in groups.items()
        if images
    }


def _poster(gallery: Gallery, colours: Mapping[str, str]) -> Image.Image:
    """Six validation images: the classes take turns, each from its median in the better half."""
    scores = gallery.scores.get(RANKING["val"], {})
    images = spread(scores, gallery.tags, list(colours), POSTER_ROWS)
    rows = [
        {title: picture for title, _, picture in gallery.pictures(image, *TILE)}
        for image in images or evenly(list(gallery.tags), POSTER_ROWS)
    ]
    titles = [title for title in POSTER_COLUMNS if any(title in row for row in rows)]
    pictures = [[row[title] for title in titles if title in row] for row in rows]
    return poster(titles, pictures, colours)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; run the stage that writes it first") from None


def _read_table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(_read_text(path).splitlines()))


def _read_numbers(path: Path) -> list[dict[str, float | None]]:
    """A table of numbers; an empty cell is None."""
    return [
        {name: float(value) if value else None for name, value in row.items()}
        for row in _read_table(path)
    ]
