"""Stage `report`: one page that shows the output of every stage and its scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from rca.config import ROUNDS, Report
from rca.data.index import Index, read_index
from rca.evaluation.products import NETWORKS
from rca.evaluation.protocol import in_words, made_in_words
from rca.evaluation.published.paper_tables import beside_the_paper
from rca.presentation import score_rows
from rca.presentation.charts import history_charts, sweep_chart
from rca.presentation.figure_grid import Row, tile, write_figure
from rca.presentation.gallery import PHOTOGRAPH, Gallery
from rca.presentation.html.page import render
from rca.presentation.origin import origin, scores_digest
from rca.presentation.page_colours import page_palettes
from rca.presentation.photograph_entries import group, picture_side
from rca.presentation.photograph_facts import FINAL, Table, facts
from rca.presentation.prototype_crops import prototype_crops
from rca.presentation.ranking import evenly, spread
from rca.presentation.report_photographs import choose, class_rows
from rca.presentation.result_files import (
    read_doubts,
    read_image_table,
    read_json,
    read_metrics,
    read_numbers,
)
from rca.presentation.screen_colours import screen_palette
from rca.presentation.stage_layers import TRUTH, colours, galleries
from rca.runtime.files import new_folder, write_text
from rca.tracking.signature import PLACE

POSTER_ROWS, POSTER_DPI = 6, 160
POSTER_COLUMNS = (PHOTOGRAPH, "CAM", "Prediction", TRUTH)
TRAININGS = {
    "train_cam": "Classification network",
    "train_seg/pseudo": "Segmentation network",
    **{
        f"train_seg/{name}": f"Segmentation network, round {number}"
        for number, name in enumerate(ROUNDS, start=1)
    },
    "train_seg/truth": "Segmentation network, true masks",
}
LIMITS = "report.panels and report.training_panels limit it"
EVERY_RUN = ("train_cam", "train_seg/pseudo")  # other folders may be left over from earlier runs


def run(
    cfg: Report,
    *,
    index: Path,
    results: Path,
    out: Path,
    parameters: Mapping[str, Any] | None = None,
) -> None:
    """Write `report.html`, a self-contained page, and `panels.png`, a figure for use elsewhere.

    Neither true masks nor a network trained on them are needed.

    Args:
        cfg: The section `report`.
        index: The folder of the index.
        results: The folder of the experiment, with a folder for each earlier stage.
        out: The folder that gets the two files.
        parameters: The configuration that the page shows; by default the section `report`.

    Raises:
        DataError: The output of a stage is missing.
    """
    data = read_index(index)
    table = read_image_table(results, data.classes)
    metrics = read_metrics(results)
    scores = score_rows.image_scores(table)
    threshold = metrics["protocol"]["threshold"]
    doubts = read_doubts(results, (record.image for record in data.records))
    of_split = galleries(data, results, threshold, scores, doubts)
    shown = parameters or {"report": cfg.model_dump()}
    page = render(
        experiment=results.name,
        place=PLACE,
        origin=origin(metrics),
        digest=scores_digest(results),
        scores_file=f"{results.as_posix()}/evaluate/metrics.json",
        images={split: len(gallery.tags) for split, gallery in of_split.items()},
        **_numbers(results, metrics, threshold),
        trainings={
            title: history_charts(read_numbers(results / folder / "history.csv"))
            for folder, title in TRAININGS.items()
            if folder in EVERY_RUN or NETWORKS[Path(folder).name] in scores
        },
        prototypes=prototype_crops(data, results / "readout"),
        **_photographs(cfg, data, of_split, table),
        parameters=yaml.safe_dump(dict(shown), sort_keys=False, allow_unicode=True),
    )
    with new_folder(out) as folder:
        write_text(folder / "report.html", page)
        _poster(folder / "panels.png", of_split["val"], colours(data))


def _numbers(results: Path, metrics: Mapping[str, Any], threshold: float) -> dict[str, Any]:
    """Collect the page's variables that come from stage `evaluate`."""
    counts = read_json(results / "evaluate/confusion.json")
    sweep = read_numbers(results / "evaluate/sweep.csv")
    shares = score_rows.confusion_shares(counts.get("network_val", []))
    stages = score_rows.stage_rows(metrics)
    words = in_words if stages else made_in_words
    return {
        "protocol": words(metrics["protocol"]),
        "names": metrics["protocol"]["classes"],
        "miou": metrics["miou"],
        "stages": stages,
        "foretold": metrics["doubt"],
        "evaluators": score_rows.evaluator_rows(metrics),
        "paper": beside_the_paper(metrics),
        "confusion": shares,
        "confusions": score_rows.confusions(shares, counts["classes"]),
        "threshold": threshold,
        "best_threshold": score_rows.best_threshold(sweep),
        "sweep": sweep_chart(sweep, threshold) if sweep else "",
    }


def _photographs(
    cfg: Report, data: Index, of_split: Mapping[str, Gallery], table: Table
) -> dict[str, Any]:
    """Collect the page's variables about single images: their pictures, facts and colours."""
    palette = screen_palette(data.classes, [record.tags for record in data.records])
    most = {"val": cfg.panels, "train": cfg.training_panels}
    groups = [
        choose(gallery, split, most[split], classes)
        for split, gallery in of_split.items()
        for classes in [class_rows(gallery, split, data.classes, table, cfg.class_panels)]
    ]
    side = picture_side(groups, palette, LIMITS)
    return {
        "side": side,
        "groups": {shown.split: group(shown, side, palette) for shown in groups},
        "facts": {
            "classes": ["background", *data.classes],
            "palettes": page_palettes(len(data.classes), palette, data.palette),
            "splits": {
                shown.split: facts(
                    shown.gallery,
                    shown.final,
                    shown.images,
                    [row for row in table if row["product"].endswith(f"_{shown.split}")],
                    data.classes,
                )
                for shown in groups
            },
        },
    }


def _poster(file: Path, gallery: Gallery, paints: Mapping[str, str]) -> None:
    """Draw six validation images, as `spread` chooses them, or evenly spaced ones without scores.

    The classes take turns, each starting from its median image in the better half.
    """
    scores = gallery.scores.get(FINAL["val"][1], {})
    images = spread(scores, gallery.tags, list(paints), POSTER_ROWS)
    rows = [
        {title: picture for title, _, picture in gallery.pictures(image, *tile(POSTER_DPI))}
        for image in images or evenly(list(gallery.tags), POSTER_ROWS)
    ]
    titles: Sequence[str] = [title for title in POSTER_COLUMNS if any(title in row for row in rows)]
    pictures = [Row([row.get(title) for title in titles]) for row in rows]
    write_figure([file], titles, pictures, paints, POSTER_DPI)
