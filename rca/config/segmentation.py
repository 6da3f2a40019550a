"""Sections `train_seg`, `relabel` and `infer_seg`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from rca.config.data import View
from rca.config.section import Count, Positive, Section
from rca.config.training import Backbone, Optimiser

ROUNDS = tuple(f"round_{number}" for number in range(1, 10))  # of self-training, at most
SUPERVISIONS = ("pseudo", *ROUNDS, "truth")  # what a segmentation network can be trained on


def round_number(supervision: str) -> int:
    """Return the number of a round of self-training, from 1 on; 0 for any other supervision."""
    return ROUNDS.index(supervision) + 1 if supervision in ROUNDS else 0


class TrainSeg(Section):
    """Stage `train_seg`: a DeepLab network on the refined pseudo-labels."""

    supervisions: dict[str, str] = Field(
        {"pseudo": "crf"},
        min_length=1,
        description="Networks to train: name → the stage whose output holds its labels. "
        "`pseudo: crf`, the refined pseudo-labels; `round_1: relabel/round_1`, what the network "
        "of an earlier training predicts for the training images (section `relabel`); "
        "`truth: index`, the true masks, for comparison.",
    )
    head: Literal["deeplab_v2", "large_fov", "deeplab_v3"] = "deeplab_v2"
    epochs: Count = 30
    batch_size: Count = 8
    balanced: bool = Field(
        False,
        description="Weight the background's pixels, in total, as much as the classes' pixels. "
        "Against networks that call everything background where labels are few and noisy.",
    )
    view: View = View(mode="crop", size=321, scale=(0.5, 1.5), flip=True, jitter=0.0, hue=0.0)
    backbone: Backbone = Backbone(name="resnet101")
    optimiser: Optimiser = Optimiser(lr=2.5e-4, schedule="poly")

    @field_validator("supervisions", mode="before")
    @classmethod
    def _is_no_list(cls, value: object) -> object:
        if isinstance(value, list):
            raise ValueError("is a mapping: {pseudo: crf}, or {pseudo: crf, truth: index}")
        return value

    @field_validator("supervisions")
    @classmethod
    def _labels_are_where_the_name_says(cls, value: dict[str, str]) -> dict[str, str]:
        for name, labels in value.items():
            expected = {"pseudo": "crf", "truth": "index"}.get(name)
            if name in ROUNDS:
                expected = f"relabel/{name}"
            if expected is None:
                raise ValueError(f"{name}: is not one of pseudo, truth, round_1 … {ROUNDS[-1]}")
            if labels != expected:
                raise ValueError(f"{name}: {labels}: the labels of {name} are those of {expected}")
        return value


class Relabel(Section):
    """Stage `relabel`: a trained network labels the training images, restricted to their tags.

    The network predicts with the settings of section `infer_seg`, but without that section's CRF;
    section `crf` refines the labels.
    """

    teachers: dict[str, str] = Field(
        {},
        description="Rounds of self-training: name of the round → the training whose network "
        "gives its labels, such as {round_1: pseudo, round_2: round_1}. Each round needs its "
        "entry in `train_seg.supervisions` too. Goes beyond the paper.",
    )

    @field_validator("teachers")
    @classmethod
    def _teachers_come_before(cls, value: dict[str, str]) -> dict[str, str]:
        for name, teacher in value.items():
            number = round_number(name)
            if not number:
                raise ValueError(f"{name}: rounds are named round_1 … {ROUNDS[-1]}")
            earlier = teacher == "pseudo" or 0 < round_number(teacher) < number
            if not earlier:  # not `truth` either: its network has seen the masks
                raise ValueError(f"{name}: {teacher}: a teacher is pseudo or an earlier round")
        return value


class InferSeg(Section):
    """Stage `infer_seg`: masks of the validation images."""

    size: Count = Field(321, description="Short side of the image at scale 1, in pixels.")
    scales: list[Positive] = Field([0.75, 1.0, 1.25], min_length=1)
    flip: bool = True
    crf: bool = Field(
        False, description="Refine the network's probabilities with the CRF of section `crf`."
    )
