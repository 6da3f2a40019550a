"""Finished experiments side by side: what they share, and which of their images to show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from rca.config import ConfigError
from rca.data.index import Index, read_index
from rca.presentation import score_rows
from rca.presentation.ranking import evenly, most_changed, spread
from rca.presentation.result_files import read_image_table, read_metrics

Choice = Literal["typical", "changed"]


@dataclass(frozen=True)
class Experiment:
    """A finished experiment.

    Attributes:
        label: its name in the figures.
        folder: its results.
        data: its index.
        metrics: what stage `evaluate` wrote.
    """

    label: str
    folder: Path
    data: Index
    metrics: dict[str, Any]

    @property
    def threshold(self) -> float:
        """The background score at which CAMs are cut into seeds."""
        return self.metrics["protocol"]["threshold"]

    @cached_property
    def table(self) -> list[dict[str, str]]:
        """The IoUs of every image."""
        return read_image_table(self.folder, self.data.classes)

    def scores(self, product: str, column: str = "iou") -> dict[str, float]:
        """Return image → IoU in percent of a product; of one class for column `iou_<class>`."""
        return score_rows.image_scores(self.table, column).get(product, {})


def read_experiments(folders: Sequence[Path], labels: Sequence[str] = ()) -> list[Experiment]:
    """Read the experiments in `folders`, which must have the same classes.

    Args:
        folders: the folder of each experiment, with the outputs of all stages.
        labels: their names in the figures; by default those of the folders.

    Raises:
        ConfigError: there are more or fewer labels than folders, or the classes differ.
        DataError: an index or a score is missing.
    """
    if labels and len(labels) != len(folders):
        raise ConfigError(f"{len(labels)} labels for {len(folders)} experiments; give one for each")
    found = [
        Experiment(label, folder, read_index(folder / "index"), read_metrics(folder))
        for folder, label in zip(
            folders, labels or [f.resolve().name for f in folders], strict=True
        )
    ]
    for other in found[1:]:
        if other.data.classes != found[0].data.classes:
            raise ConfigError(
                f"{found[0].folder} and {other.folder} have different classes "
                f"({', '.join(found[0].data.classes)}; {', '.join(other.data.classes)}); "
                "show them in figures of their own"
            )
    return found


def shared_images(experiments: Sequence[Experiment], split: str) -> dict[str, tuple[str, ...]]:
    """Return image → tags of a split, which must have the same images in all experiments.

    Raises:
        ConfigError: the images differ, or there are none.
    """
    first, *others = (
        {record.image: record.tags for record in experiment.data.split(split)}
        for experiment in experiments
    )
    for experiment, other in zip(experiments[1:], others, strict=True):
        if set(other) != set(first):
            odd = sorted(set(other) ^ set(first))
            raise ConfigError(
                f"{experiments[0].folder} and {experiment.folder} have different {split} images: "
                f"{len(odd)} are in one of them only, such as {odd[0]}; index both alike"
            )
    if not first:
        raise ConfigError(f"{experiments[0].folder}: has no {split} images to show")
    return first


def named_split(experiments: Sequence[Experiment], images: Sequence[str]) -> str:
    """Find the split that all of `images` belong to.

    Raises:
        ConfigError: an image is unknown, or they are of both splits.
    """
    first = experiments[0]
    splits = {record.image: record.split for record in first.data.records}
    for image in images:
        if image not in splits:
            close = ", ".join(get_close_matches(image, splits, 3)) or "see its index.csv"
            raise ConfigError(f"{image}: no image of {first.folder / 'index'}; close: {close}")
    named = {image: splits[image] for image in images}
    if len(set(named.values())) > 1:
        raise ConfigError(f"images of both splits cannot share a figure: {named}")
    return next(iter(named.values()))


def choose(
    experiments: Sequence[Experiment],
    product: str,
    tags: dict[str, tuple[str, ...]],
    rule: Choice,
    count: int,
) -> tuple[list[str], str]:
    """Choose at most `count` images, and say in words how they were chosen.

    Args:
        experiments: the first is the one to compare with, the last the one presented.
        product: the product whose scores decide.
        tags: image → tags, of the images to choose from.
        rule: `typical` or `changed`.
        count: the number of images in total.

    Raises:
        ConfigError: `changed` is asked for with one experiment, without scores, or where no IoU
            differs.
    """
    first, last = experiments[0], experiments[-1]
    scores = last.scores(product)
    title = score_rows.TITLES[product]
    if rule == "changed":
        before = first.scores(product)
        if first is last or not scores:
            raise ConfigError(
                "the most changed images need two experiments whose images have true masks"
            )
        images = most_changed(before, scores, count)
        if not images:
            raise ConfigError(
                f"{title}: no image's IoU differs between {first.label} and {last.label}"
            )
        return images, (
            f"by a rule: the {len(images)} images whose IoU ({title}) differs most between "
            f"{first.label} and {last.label}, up or down, of {len(scores)} images"
        )
    if not scores:
        return evenly(list(tags), count), (
            f"by a rule: every {max(len(tags) // count, 1)}th of {len(tags)} images, by name; "
            "there are no true masks to score them"
        )
    return spread(scores, tags, experiments[0].data.classes, count), (
        f"by a rule: of the half of {len(scores)} images with the higher IoU ({title}, "
        f"{last.label}), the classes take turns, each from its median in that half on"
    )
