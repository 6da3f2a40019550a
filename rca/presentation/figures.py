"""`rca figures`: what experiments made of the same images, side by side, for a paper.

No stage: it puts finished experiments together, and none depends on what it writes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from rca.config import IGNORE, ConfigError
from rca.data.images import read_image
from rca.presentation.captions import caption
from rca.presentation.experiments import (
    Choice,
    Experiment,
    choose,
    named_split,
    read_experiments,
    shared_images,
)
from rca.presentation.figure_grid import HATCHED, Row, tile, write_figure
from rca.presentation.gallery import PHOTOGRAPH
from rca.presentation.overlays import draw_cam, draw_labels, fit
from rca.presentation.stage_layers import TRUTH, cam_reader, colours, label_layer, truth_layer
from rca.runtime.files import write_text

DPI = 240
Kind = Literal["cams", "masks"]
SPLITS: dict[Kind, str] = {"cams": "train", "masks": "val"}  # as in the paper's supplement
MASKS = {
    "train": ("crf", "crf_train", "crf"),
    "val": ("infer_seg/pseudo", "network_val", "infer-seg"),
}


Drawn = tuple[list[str], list[Row], dict[str, str]]
Shown = tuple[str, str | None]  # a row before it is drawn: image, and class if it is about one


def run(
    results: Sequence[Path],
    *,
    out: Path,
    labels: Sequence[str] = (),
    kinds: Sequence[Kind] = ("cams", "masks"),
    split: str | None = None,
    images: Sequence[str] = (),
    rule: Choice = "typical",
    count: int = 6,
) -> None:
    """Write `cams` and `masks`, each as `.png`, `.pdf` and the caption `.txt`.

    Args:
        results: folders of the experiments, what to compare with first.
        out: folder that gets the files.
        labels: the experiments' names, by default those of their folders.
        kinds: which of the two figures.
        split: whose images; by default training images for CAMs, validation images for masks.
        images: names, in the order of the rows; none chooses by `rule`.
        rule: how to choose.
        count: images to choose.

    Raises:
        ConfigError: the experiments do not go together, or an image is unknown.
        DataError: a stage's output is missing.
    """
    experiments = read_experiments(results, labels)
    if images:
        named = named_split(experiments, images)
        if split not in (None, named):
            raise ConfigError(f"the images are of {named}, not of {split}; leave --split out")
        split = named
    drawn: list[tuple[Kind, Drawn, str]] = []
    for kind in kinds:
        of = split or SPLITS[kind]
        tags = shared_images(experiments, of)
        product = f"cam_seeds_{of}" if kind == "cams" else MASKS[of][1]
        chosen, how = list(images), "by hand"
        if not images:
            chosen, how = choose(experiments, product, tags, rule, count)
        shown = _rows(kind, chosen, tags)
        draw = _draw_cams if kind == "cams" else _draw_masks
        titles, rows, legend = draw(experiments, shown, of)
        text = caption(experiments, kind, of, product, titles, shown, how)
        drawn.append((kind, (titles, rows, legend), text))
    # The folder may hold other files of the user's, so it is not replaced as that of a stage is.
    for kind, figure, text in drawn:
        write_figure([out / f"{kind}.{suffix}" for suffix in ("png", "pdf")], *figure, DPI)
        write_text(out / f"{kind}.txt", text)


def _rows(kind: Kind, images: Sequence[str], tags: Mapping[str, Sequence[str]]) -> list[Shown]:
    """A row an image; of CAMs, one for each class of the image's tags.

    Raises:
        ConfigError: none of the images has a tag to show a CAM of.
    """
    if kind == "masks":
        return [(image, None) for image in images]
    rows: list[Shown] = [(image, name) for image in images for name in tags[image]]
    if not rows:
        raise ConfigError(f"{', '.join(images)}: have no tags, and so no CAMs; name other images")
    return rows


Reader = Callable[[Shown], np.ndarray | None]


def _draw_cams(experiments: Sequence[Experiment], shown: Sequence[Shown], split: str) -> Drawn:
    """Titles, rows and no legend: photograph, each experiment's CAM of the class, its true mask."""
    first = experiments[0]
    classes = first.data.classes

    def cam(experiment: Experiment) -> Reader:
        read = cache(cam_reader(experiment.data, experiment.folder / "infer_cam" / split))

        def of_class(row: Shown) -> np.ndarray:
            known, maps = read(row[0])
            found = maps[known == classes.index(row[1] or "")]
            return found[0] if len(found) else np.zeros(maps.shape[1:], np.float32)

        return of_class

    whole = truth_layer(first.data).read

    def truth(row: Shown) -> np.ndarray | None:
        labels = whole(row[0])
        label = 1 + classes.index(row[1] or "")
        return None if labels is None else np.where(np.isin(labels, (label, IGNORE)), labels, 0)

    columns = [
        (experiment.label, cam(experiment), partial(draw_cam, threshold=experiment.threshold))
        for experiment in experiments
    ]
    columns.append((TRUTH, truth, partial(draw_labels, palette=first.data.palette)))
    titles, rows, _ = _grid(first, shown, columns)
    return titles, rows, {}


def _draw_masks(experiments: Sequence[Experiment], shown: Sequence[Shown], split: str) -> Drawn:
    """Titles, rows and legend: photograph, each experiment's masks, the true masks."""
    first = experiments[0]
    folder, product, verb = MASKS[split]
    layers = [
        label_layer(experiment.data, experiment.folder / folder, experiment.label, product, verb)
        for experiment in experiments
    ]
    layers.append(truth_layer(first.data))
    columns = [
        (layer.title, lambda row, layer=layer: layer.read(row[0]), layer.draw) for layer in layers
    ]
    titles, rows, seen = _grid(first, shown, columns)
    legend = {
        name: colour
        for label, (name, colour) in enumerate(colours(first.data).items(), start=1)
        if label in seen
    }
    return titles, rows, legend | ({HATCHED: "none"} if IGNORE in seen else {})


Column = tuple[str, Reader, Callable[[Image.Image, np.ndarray], Image.Image]]


def _grid(
    first: Experiment, shown: Sequence[Shown], columns: Sequence[Column]
) -> tuple[list[str], list[Row], set[int]]:
    """Titles of the columns that hold something, their rows, and the values in the label maps."""
    files = {record.image: record.file for record in first.data.records}
    paints = colours(first.data)
    pictures: list[list[Image.Image | None]] = []
    seen: set[int] = set()
    for row in shown:
        photo = fit(read_image(files[row[0]]), *tile(DPI))
        values = [read(row) for _, read, _ in columns]
        seen.update(
            int(value)
            for known in values
            if known is not None and known.dtype == np.uint8
            for value in np.unique(known)
        )
        drawn = [
            None if known is None else draw(photo, known)
            for known, (_, _, draw) in zip(values, columns, strict=True)
        ]
        pictures.append([photo, *drawn])
    titles = [PHOTOGRAPH, *(title for title, _, _ in columns)]
    kept = [place for place in range(len(titles)) if any(row[place] for row in pictures)]
    rows = [
        Row([line[place] for place in kept], row[1] or "", paints.get(row[1] or "", "none"))
        for row, line in zip(shown, pictures, strict=True)
    ]
    return [titles[place] for place in kept], rows, seen
