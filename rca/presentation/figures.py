"""`rca figures`: the results of experiments on the same images, side by side, for a paper.

Not a stage: it combines finished experiments, and no stage depends on its output.
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
from rca.presentation.captions import PROBABLE, caption
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
Kind = Literal["cams", "posteriors", "masks"]
SPLITS: dict[Kind, str] = {"cams": "train", "posteriors": "train", "masks": "val"}  # the paper's
MAPS: dict[Kind, str] = {"cams": "infer_cam", "posteriors": "readout"}  # kind → folder
MAP_PRODUCTS: dict[Kind, str] = {"cams": "cam_seeds", "posteriors": "readout"}
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
    kinds: Sequence[Kind] = (),
    split: str | None = None,
    images: Sequence[str] = (),
    rule: Choice = "typical",
    count: int = 6,
) -> list[Path]:
    """Write each kind of figure as `.png`, `.pdf` and the caption `.txt`.

    Args:
        results: the folders of the experiments; the first is the one to compare with.
        out: the folder for the files.
        labels: the experiments' names; by default those of their folders.
        kinds: the figures to draw; by default CAMs, masks and, if every experiment has prototypes,
            posteriors.
        split: the split of the images; by default training images for maps, validation images for
            masks.
        images: the names of the images, in the order of the rows; by default, `rule` chooses them.
        rule: the rule by which images are chosen.
        count: the number of images to choose.

    Returns:
        The files that were written.

    Raises:
        ConfigError: the experiments cannot be shown together, an image is unknown, or an experiment
            lacks the posteriors that were asked for.
        DataError: a stage's output is missing.
    """
    experiments = read_experiments(results, labels)
    if images:
        named = named_split(experiments, images)
        if split not in (None, named):
            raise ConfigError(f"the images are of {named}, not of {split}; leave --split out")
        split = named
    drawn: list[tuple[Kind, Drawn, str]] = []
    for kind in kinds or _kinds_of(experiments):
        if kind == "posteriors" and (lacking := _without_posteriors(experiments)):
            raise ConfigError(
                f"{lacking[0].folder}: has no posteriors, since its readout.method is cams"
            )
        of = split or SPLITS[kind]
        tags = shared_images(experiments, of)
        product = MASKS[of][1] if kind == "masks" else f"{MAP_PRODUCTS[kind]}_{of}"
        chosen, how = list(images), "by hand"
        if not images:
            chosen, how = choose(experiments, product, tags, rule, count)
        shown = _rows(kind, chosen, tags)
        if kind == "masks":
            titles, rows, legend = _draw_masks(experiments, shown, of)
        else:
            titles, rows, legend = _draw_maps(experiments, shown, of, kind)
        text = caption(experiments, kind, of, product, titles, shown, how)
        drawn.append((kind, (titles, rows, legend), text))
    # The folder may hold other files of the user, so it is not replaced as a stage's folder is.
    files = []
    for kind, figure, text in drawn:
        pictures = [out / f"{kind}.{suffix}" for suffix in ("png", "pdf")]
        write_figure(pictures, *figure, DPI)
        write_text(out / f"{kind}.txt", text)
        files += [*pictures, out / f"{kind}.txt"]
    return files


def _kinds_of(experiments: Sequence[Experiment]) -> Sequence[Kind]:
    if _without_posteriors(experiments):
        return "cams", "masks"
    return "cams", "posteriors", "masks"


def _without_posteriors(experiments: Sequence[Experiment]) -> list[Experiment]:
    return [
        experiment
        for experiment in experiments
        if experiment.metrics["protocol"].get("readout", {}).get("method") != "prototypes"
    ]


def _rows(kind: Kind, images: Sequence[str], tags: Mapping[str, Sequence[str]]) -> list[Shown]:
    """List one row per image or, for maps, one per image and tag.

    Raises:
        ConfigError: none of the images has a tag to show a map of.
    """
    if kind == "masks":
        return [(image, None) for image in images]
    rows: list[Shown] = [(image, name) for image in images for name in tags[image]]
    if not rows:
        raise ConfigError(f"{', '.join(images)}: have no tags, and so no maps; name other images")
    return rows


Reader = Callable[[Shown], np.ndarray | None]


def _draw_maps(
    experiments: Sequence[Experiment], shown: Sequence[Shown], split: str, kind: Kind
) -> Drawn:
    """Draw photograph, each experiment's map of the class, and its true mask; without a legend."""
    first = experiments[0]
    classes = first.data.classes

    def map_of(experiment: Experiment) -> Reader:
        read = cache(cam_reader(experiment.data, experiment.folder / MAPS[kind] / split))

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
        (experiment.label, map_of(experiment), partial(draw_cam, threshold=line))
        for experiment in experiments
        for line in [experiment.threshold if kind == "cams" else PROBABLE]
    ]
    columns.append((TRUTH, truth, partial(draw_labels, palette=first.data.palette)))
    titles, rows, _ = _grid(first, shown, columns)
    return titles, rows, {}


def _draw_masks(experiments: Sequence[Experiment], shown: Sequence[Shown], split: str) -> Drawn:
    """Draw photograph, each experiment's mask, and the true mask; with a legend."""
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
    """Draw the columns; return those that hold something, and the values in the label maps."""
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
