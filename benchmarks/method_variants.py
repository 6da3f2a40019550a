"""Variants of benchmarks.method_study: the method's parts, and what its equations leave open."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from rca.config import Params, load
from rca.data.nested import flat

PLAIN = {"train_cam.rsc.enabled": False, "train_cam.rsa.enabled": False}
BACKGROUND = {"train_cam.memory.background": True, "train_cam.rsc.background_queries": True}

# How masks are read from a network. Every variant is scored in both ways.
READINGS: dict[str, dict[str, Any]] = {
    "cams": {"readout.method": "cams", "pseudo_labels.background": "threshold"},
    "prototypes": {"readout.method": "prototypes", "pseudo_labels.background": "posterior"},
}


class Variant(NamedTuple):
    """A row of the study.

    Attributes:
        title: The title in the study's table.
        changes: The changes to the base, by dotted key.
        reference: The variant that the gain is measured against; None if this one has no gain.
        network: Whether a segmentation network is trained on its labels.
    """

    title: str
    changes: dict[str, Any]
    reference: str | None = "baseline"
    network: bool = False


def released_code() -> dict[str, Any]:
    """List where configs/released_code.yaml differs from the paper's preset.

    The head of the queries is left out: its two 3×3 convolutions on MobileNetV2's 1280 channels
    would cost more than all the rest.
    """
    paper, code = (
        dict(flat(load(Path(f"configs/{name}.yaml")).model_dump(mode="json")))
        for name in ("voc12_paper", "released_code")
    )
    left_out = ("experiment", "train_cam.rsc.query")
    return {key: code[key] for key in paper if code[key] != paper[key] and key not in left_out}


ACCUMULATED = {
    "train_cam.attention.accumulate": True,
    "infer_cam.training_maps": "accumulated",
}

# Ten times the paper's weight, at which the loss of the contrast falls: at the paper's it moved no
# score by more than 0.1 (benchmarks/results/cam_head_study.json). Trials have more, and less.
HEARD = {"train_cam.rsc.weight": 0.1}
RCA_BACKGROUND = {**BACKGROUND, "train_cam.rsa.background": True, **HEARD}

# The main comparison of the study, measured with several seeds.
VARIANTS = {
    "baseline": Variant("Plain classifier", PLAIN, None, network=True),
    "imagenet": Variant(
        "ImageNet's features, only the head trained",
        {**PLAIN, "train_cam.backbone.frozen_blocks": 19},
    ),
    "rsc": Variant("+ RSC", {"train_cam.rsa.enabled": False, **HEARD}),
    "rsc_background": Variant(
        "+ RSC with background", {"train_cam.rsa.enabled": False, **BACKGROUND, **HEARD}
    ),
    "rsa": Variant("+ RSA", {"train_cam.rsc.enabled": False}),
    "rca": Variant("RCA (RSC and RSA)", HEARD, network=True),
    "rca_background": Variant(
        "RCA with background",
        RCA_BACKGROUND,
        network=True,
    ),
    "random_prototypes": Variant(
        "RCA, random prototypes", {"train_cam.rsa.prototype_rule": "noise", **HEARD}
    ),
    "released_code": Variant("RCA as released", released_code()),
    "accumulated": Variant(
        "Plain classifier, accumulated maps", {**PLAIN, **ACCUMULATED}, network=True
    ),
    "accumulated_rsa": Variant(
        "+ RSA, accumulated maps", {"train_cam.rsc.enabled": False, **ACCUMULATED}
    ),
    "accumulated_rca": Variant(
        "RCA with background, accumulated maps",
        {**RCA_BACKGROUND, **ACCUMULATED},
    ),
}

RSC = {"train_cam.rsa.enabled": False}
STRONG = {**RSC, **BACKGROUND, **HEARD}
LAST = {"readout.blocks": None}
DEEPER = {"train_cam.backbone.frozen_blocks": 7}
FASTER = {"train_cam.optimiser.lr": 0.003}
LARGER = {"train_cam.batch_size": 16}
APART = {**STRONG, "train_cam.rsc.weight": 1.0, "train_cam.rsc.exclude_partner": True}
READ = {"train_cam.backbone.blocks": 17}  # F is what the readout reads: 160 channels


def _trial(title: str, changes: dict[str, Any], reference: str | None = "baseline") -> Variant:
    return Variant(title, changes, reference)


# What decides whether the contrast has an effect, tried with one seed.
TRIALS = {
    "weight_0.01": _trial("+ RSC at the paper's weight, 0.01", RSC),
    "weight_1": _trial("+ RSC, weight 1", {**RSC, "train_cam.rsc.weight": 1.0}),
    "strongest": _trial("+ RSC with background, weight 1", {**STRONG, "train_cam.rsc.weight": 1.0}),
    "summed": _trial(
        "+ RSC at the paper's weight, summed over the batch",
        {**RSC, "train_cam.rsc.sum_images": True},
    ),
    "released_network_maps": _trial(
        "RCA as released, the network's own maps",
        {**released_code(), "infer_cam.training_maps": "network"},
    ),
    "negatives": _trial(
        "+ RSC with background as negatives alone",
        {**STRONG, "train_cam.rsc.background_queries": False},
    ),
    "at_once": _trial(
        "+ RSC with background, from the first epoch on", {**STRONG, "train_cam.rsc.start_epoch": 0}
    ),
    "linear": _trial(
        "+ RSC with background, behind a linear head",
        {**STRONG, "train_cam.rsc.projection": "linear"},
    ),
    "nonlinear": _trial(
        "+ RSC with background, behind a nonlinear head",
        {**STRONG, "train_cam.rsc.projection": "nonlinear"},
    ),
    "rca_nonlinear": _trial(
        "RCA with background, behind a nonlinear head",
        {**RCA_BACKGROUND, "train_cam.rsc.projection": "nonlinear"},
    ),
    "confident": _trial(
        "+ RSC with background, of the most confident 35 % of a region",
        {**STRONG, "train_cam.rsc.confident_share": 0.35},
    ),
    "believed": _trial(
        "+ RSC with background, of believed classes", {**STRONG, "train_cam.rsc.query_gate": 0.7}
    ),
    "peaks": _trial(
        "+ RSC with background, regions above 0.3 of the maximum",
        {**STRONG, "train_cam.rsc.region_rule": "max_fraction"},
    ),
    "large_memory": _trial(
        "+ RSC with background, 500 slots", {**STRONG, "train_cam.memory.slots": 500}
    ),
    "by_image": _trial(
        "+ RSC with background, a memory by image",
        {**STRONG, "train_cam.memory.update": "image_ema"},
    ),
    "apart": _trial(
        "+ RSC with background, weight 1, the partner's class giving no negatives", APART
    ),
    "unmixed": _trial(
        "+ RSC, the same, next to nothing mixed", {**APART, "train_cam.rsc.beta": 0.05}
    ),
    "apart_sure": _trial(
        "+ RSC, the same, of the most confident 35 % of regions above 0.3 of the maximum, of "
        "believed classes",
        {
            **APART,
            "train_cam.rsc.region_rule": "max_fraction",
            "train_cam.rsc.confident_share": 0.35,
            "train_cam.rsc.query_gate": 0.7,
        },
    ),
    "apart_nonlinear": _trial(
        "+ RSC, the same, behind a nonlinear head",
        {**APART, "train_cam.rsc.projection": "nonlinear"},
    ),
    "read": _trial("Plain classifier on the block that is read", {**PLAIN, **READ}, None),
    "strong_read": _trial("+ RSC with background on it, weight 0.1", {**STRONG, **READ}, "read"),
    "apart_read": _trial(
        "+ RSC with background on it, weight 1, the partner's class giving no negatives",
        {**APART, **READ},
        "read",
    ),
    "as_written": _trial(
        "RCA as the paper's text has it: memory by image, partners of other images, plain sum",
        {
            "train_cam.memory.update": "image_ema",
            "train_cam.rsc.partner": "other_image",
            "train_cam.rsc.weight": 1.0,
            "train_cam.auxiliary_weight": 1.0,
        },
    ),
    "rsa_start": _trial(
        "RCA with background, the readout begun at RSA's prototypes",
        {
            **BACKGROUND,
            "train_cam.rsa.background": True,
            "readout.start": "rsa",
            "readout.blocks": None,
        },
    ),
    "last_block": _trial("Plain classifier, readout of its last block", {**PLAIN, **LAST}, None),
    "strong_last_block": _trial(
        "+ RSC with background, weight 0.1, readout of its last block",
        {**STRONG, **LAST},
        "last_block",
    ),
    "deeper": _trial("Plain classifier, 12 blocks trained", {**PLAIN, **DEEPER}, None),
    "strong_deeper": _trial(
        "+ RSC with background, weight 0.1, the same", {**STRONG, **DEEPER}, "deeper"
    ),
    "deeper_accumulated": _trial(
        "Plain classifier, 12 blocks trained, accumulated maps",
        {**PLAIN, **DEEPER, **ACCUMULATED},
        None,
    ),
    "strong_deeper_accumulated": _trial(
        "+ RSC with background, weight 0.1, the same",
        {**STRONG, **DEEPER, **ACCUMULATED},
        "deeper_accumulated",
    ),
    "faster": _trial("Plain classifier, learning rate 0.003", {**PLAIN, **FASTER}, None),
    "strong_faster": _trial(
        "+ RSC with background, weight 0.1, the same", {**STRONG, **FASTER}, "faster"
    ),
    "larger": _trial("Plain classifier, batches of 16", {**PLAIN, **LARGER}, None),
    "strong_larger": _trial(
        "+ RSC with background, weight 0.1, the same", {**STRONG, **LARGER}, "larger"
    ),
}
EVERYTHING = VARIANTS | TRIALS


def overridden(params: Params, changes: dict[str, Any]) -> Params:
    """Return `params` with the values of dotted keys changed, and validated as a whole.

    Raises:
        KeyError: There is no such key.
    """
    content = params.model_dump(mode="json")
    for key, value in changes.items():
        *sections, last = key.split(".")
        section = content
        for name in sections:
            section = section[name]
        if last not in section:
            raise KeyError(f"{key}: no such key")
        section[last] = value
    return Params.model_validate(content)
