"""What benchmarks.method_study compares: the method's parts, and what its equations leave open."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from rca.config import Params, load
from rca.runtime.nested import flat

PLAIN = {
    "train_cam.rsc.enabled": False,
    "train_cam.rsa.enabled": False,
    "train_cam.attention.accumulate": True,  # changes no weight: OAA shares the baseline's
}


class Variant(NamedTuple):
    """A row of the study.

    Attributes:
        title: in its table.
        changes: of the base, by dotted key.
        reference: the variant that its gain is over, if it is no such variant itself.
    """

    title: str
    changes: dict[str, Any]
    reference: str | None = "baseline"


def released_code() -> dict[str, Any]:
    """Where configs/released_code.yaml differs from the paper's preset.

    But for the head of the queries: two 3×3 convolutions on MobileNetV2's 1280 channels would cost
    more than all the rest.
    """
    paper, code = (
        dict(flat(load(Path(f"configs/{name}.yaml")).model_dump(mode="json")))
        for name in ("voc12_paper", "released_code")
    )
    left_out = ("experiment", "train_cam.rsc.query")
    return {key: code[key] for key in paper if code[key] != paper[key] and key not in left_out}


# The question of the study: these are measured with several seeds.
VARIANTS = {
    "baseline": Variant("Plain CAM", PLAIN, None),
    "oaa": Variant("+ OAA", {**PLAIN, "infer_cam.training_maps": "accumulated"}),
    "rsc": Variant("+ RSC", {"train_cam.rsa.enabled": False}),
    "rsa": Variant("+ RSA", {"train_cam.rsc.enabled": False}),
    "rca": Variant("RCA (RSC and RSA)", {}),
    "random_prototypes": Variant(
        "RCA, random prototypes", {"train_cam.rsa.prototype_rule": "noise"}
    ),
    "released_code": Variant("RCA as released", released_code()),
}

LONGER = {"train_cam.epochs": 8}
LARGER = {"infer_cam.size": 480}
# What the equations leave open, tried with one seed.
TRIALS = {
    "rsc_weight_0.1": Variant(
        "+ RSC, weight 0.1", {"train_cam.rsa.enabled": False, "train_cam.rsc.weight": 0.1}
    ),
    "rsc_weight_1": Variant(
        "+ RSC, weight 1", {"train_cam.rsa.enabled": False, "train_cam.rsc.weight": 1.0}
    ),
    "rsc_peaks": Variant(
        "+ RSC, weight 0.1, regions above 0.3 of the maximum",
        {
            "train_cam.rsa.enabled": False,
            "train_cam.rsc.weight": 0.1,
            "train_cam.rsc.region_rule": "max_fraction",
        },
    ),
    "rsa_scale_one": Variant(
        "+ RSA, F·Qᵀ as it is (the paper's)",
        {"train_cam.rsc.enabled": False, "train_cam.rsa.scale": "one"},
    ),
    "rsa_temperature_0.02": Variant(
        "+ RSA, cosine / 0.02",
        {"train_cam.rsc.enabled": False, "train_cam.rsa.temperature": 0.02},
    ),
    "rca_oaa": Variant("RCA and OAA", {"infer_cam.training_maps": "accumulated"}, "oaa"),
    "released_network": Variant(
        "RCA as released, maps of the network",
        {**released_code(), "infer_cam.training_maps": "network"},
    ),
    "baseline_480": Variant("Plain CAM at 480 px", {**PLAIN, **LARGER}, None),
    "rca_480": Variant("RCA at 480 px", LARGER, "baseline_480"),
    "baseline_8": Variant("Plain CAM, 8 epochs", {**PLAIN, **LONGER}, None),
    "rca_8": Variant("RCA, 8 epochs", LONGER, "baseline_8"),
    "rsc_8": Variant("+ RSC, 8 epochs", {"train_cam.rsa.enabled": False, **LONGER}, "baseline_8"),
    "rsa_8": Variant("+ RSA, 8 epochs", {"train_cam.rsc.enabled": False, **LONGER}, "baseline_8"),
    "random_prototypes_8": Variant(
        "RCA, random prototypes, 8 epochs",
        {"train_cam.rsa.prototype_rule": "noise", **LONGER},
        "baseline_8",
    ),
}

EVERYTHING = {**VARIANTS, **TRIALS}


def overridden(params: Params, changes: dict[str, Any]) -> Params:
    """`params` with the values of dotted keys changed, and checked as a whole.

    Raises:
        KeyError: there is no such key.
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
