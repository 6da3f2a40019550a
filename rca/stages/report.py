"""Stage `report`: one page that shows what every stage made, and how good it is."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from rca.config import PseudoLabels, Report
from rca.data.images import read_image
from rca.data.index import Index, read_index
from rca.drawing.charts import history_charts, sweep_chart
from rca.drawing.figure import Row, tile, write_figure
from rca.drawing.gallery import PHOTOGRAPH, Gallery
from rca.drawing.page import render
from rca.evaluation import summary
from rca.evaluation.protocol import in_words
from rca.evaluation.published.tables import beside_the_paper
from rca.evaluation.ranking import best_and_worst, evenly, extremes, spread
from rca.files import new_folder, write_text
from rca.stages.numbers import read_image_table, read_metrics, read_numbers, read_text
from rca.stages.pictures import TRUTH, cam_layer, colours, label_layer, truth_layer

POSTER_ROWS, POSTER_DPI = 6, 160
POSTER_COLUMNS = (PHOTOGRAPH, "CAM", "Prediction", TRUTH)
RANKING = {"val": "network_val", "train": "crf_train"}
CLASS_SIDE = 240  # pixels: there are many of these pictures
# A folder of this network may be left of an earlier run; its scores are of this one.
SUPERVISED, TRUTH_TRAINING = "fully_supervised_val", "train_seg/truth"
TRAININGS = {
    "train_cam": "Classification network",
    "train_seg/pseudo": "Segmentation network",
    TRUTH_TRAINING: "Segmentation network, true masks",
}

Table = Sequence[Mapping[str, str]]


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
    table = read_image_table(results, data.classes)
    scores = summary.image_scores(table)
    paints = colours(data)
    galleries = _galleries(data, results, rules.threshold, scores)
    shown = parameters or {"pseudo_labels": rules.model_dump(), "report": cfg.model_dump()}
    page = render(
        experiment=results.name,
        colours=paints,
        images={split: len(gallery.tags) for split, gallery in galleries.items()},
        **_numbers(results, rules.threshold),
        trainings={
            title: history_charts(read_numbers(results / folder / "history.csv"))
            for folder, title in TRAININGS.items()
            if folder != TRUTH_TRAINING or SUPERVISED in scores
        },
        galleries={
            "val": _panels(galleries["val"], "val", cfg.panels),
            "train": _panels(galleries["train"], "train", cfg.training_panels),
        },
        classes={
            split: _class_panels(gallery, split, paints, table, cfg.class_panels)
            for split, gallery in galleries.items()
        },
        parameters=yaml.safe_dump(dict(shown), sort_keys=False, allow_unicode=True),
    )
    with new_folder(out) as folder:
        write_text(folder / "report.html", page)
        _poster(folder / "panels.png", galleries["val"], paints)


def _numbers(results: Path, threshold: float) -> dict[str, Any]:
    """The page's variables that come from stage `evaluate`."""
    metrics = read_metrics(results)
    counts = json.loads(read_text(results / "evaluate/confusion.json"))
    sweep = read_numbers(results / "evaluate/sweep.csv")
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
    predictions = results / "infer_seg"
    networks = [label_layer(data, predictions / "pseudo", "Prediction", "network_val", "infer-seg")]
    if SUPERVISED in scores:
        folder = predictions / "truth"
        networks.append(label_layer(data, folder, "Trained on truth", SUPERVISED, "infer-seg"))
    made = [
        label_layer(data, results / folder, title, f"{folder}_train", folder.replace("_", "-"))
        for folder, title in (("pseudo_labels", "Pseudo-label"), ("crf", "After CRF"))
    ]
    cams = {
        split: cam_layer(data, results / "infer_cam" / split, f"cam_seeds_{split}", threshold)
        for split in ("val", "train")
    }
    return {
        split: Gallery(
            tags={record.image: record.tags for record in data.split(split)},
            photo=lambda image: read_image(records[image].file),
            layers=[cams[split], *layers, truth_layer(data)],
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


def _class_panels(
    gallery: Gallery, split: str, classes: Iterable[str], table: Table, count: int
) -> dict[str, dict[str, Any]]:
    """Class → images that hold it and panels of the best, the worst and the most changed of them.

    All by the IoU of that class alone, which is also what these panels say.
    """
    found = {}
    for name in classes:
        holding = {image for image, tags in gallery.tags.items() if name in tags}
        scores = {
            product: {image: iou for image, iou in known.items() if image in holding}
            for product, known in summary.image_scores(table, f"iou_{name}").items()
        }
        before, after = scores.get(f"cam_seeds_{split}", {}), scores.get(RANKING[split], {})
        of_class = replace(gallery, scores=scores)
        panels = [
            {
                **of_class.panel(image, CLASS_SIDE),
                "roles": ", ".join(roles),
                "change": after[image] - before[image] if image in before else None,
            }
            for image, roles in extremes(before, after, count).items()
        ]
        if panels:
            found[name] = {"images": len(after), "panels": panels}
    return found


def _poster(file: Path, gallery: Gallery, paints: Mapping[str, str]) -> None:
    """Six validation images: the classes take turns, each from its median in the better half."""
    scores = gallery.scores.get(RANKING["val"], {})
    images = spread(scores, gallery.tags, list(paints), POSTER_ROWS)
    rows = [
        {title: picture for title, _, picture in gallery.pictures(image, *tile(POSTER_DPI))}
        for image in images or evenly(list(gallery.tags), POSTER_ROWS)
    ]
    titles = [title for title in POSTER_COLUMNS if any(title in row for row in rows)]
    pictures = [Row([row.get(title) for title in titles]) for row in rows]
    write_figure([file], titles, pictures, paints, POSTER_DPI)
