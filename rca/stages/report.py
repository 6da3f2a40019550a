"""Stage `report`: one page that shows what every stage made, and how good it is."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from rca.config import PseudoLabels, Report
from rca.data.index import read_index
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
from rca.stages.pictures import SUPERVISED, TRUTH, colours, galleries
from rca.stages.prototype_pictures import prototype_crops

POSTER_ROWS, POSTER_DPI = 6, 160
POSTER_COLUMNS = (PHOTOGRAPH, "CAM", "Prediction", TRUTH)
RANKING = {"val": "network_val", "train": "crf_train"}
CLASS_SIDE = 240  # pixels: there are many of these pictures
TRUTH_TRAINING = "train_seg/truth"
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
    of_split = galleries(data, results, rules.threshold, scores)
    shown = parameters or {"pseudo_labels": rules.model_dump(), "report": cfg.model_dump()}
    page = render(
        experiment=results.name,
        colours=paints,
        images={split: len(gallery.tags) for split, gallery in of_split.items()},
        **_numbers(results, rules.threshold),
        trainings={
            title: history_charts(read_numbers(results / folder / "history.csv"))
            for folder, title in TRAININGS.items()
            if folder != TRUTH_TRAINING or SUPERVISED in scores
        },
        prototypes=prototype_crops(data, results / "readout"),
        galleries={
            "val": _panels(of_split["val"], "val", cfg.panels),
            "train": _panels(of_split["train"], "train", cfg.training_panels),
        },
        classes={
            split: _class_panels(gallery, split, paints, table, cfg.class_panels)
            for split, gallery in of_split.items()
        },
        parameters=yaml.safe_dump(dict(shown), sort_keys=False, allow_unicode=True),
    )
    with new_folder(out) as folder:
        write_text(folder / "report.html", page)
        _poster(folder / "panels.png", of_split["val"], paints)


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
