"""What a number means: the protocol by which it was measured.

Numbers in this field differ by tens of points with the treatment of uncertain pixels, the choice
of thresholds and the signals used. So no number is written without its protocol.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rca.config import IGNORE, Params
from rca.evaluation.bootstrap import LEVEL
from rca.evaluation.products import Product

UNSTATED = "not stated"
_POLICIES = {
    "strict": "a pixel predicted 255 (uncertain) counts as a miss",
    "background": "a pixel predicted 255 (uncertain) counts as background",
    "excluded": "a pixel predicted 255 (uncertain) is left out, and coverage says how many remain",
}


def protocol(
    params: Params,
    *,
    classes: Sequence[str],
    mask_source: str,
    source: Mapping[str, Any],
    images: Mapping[str, Iterable[str]],
    products: Iterable[Product],
) -> dict[str, Any]:
    """Build the protocol as `metrics.json` holds it.

    Args:
        params: The configuration that made the products.
        classes: The names of the C classes, without the background.
        mask_source: Where the true masks come from.
        source: What the data set states about itself: `name`, `source`, whose `tags`, digests of
            files.
        images: Split → the names of the images that are scored.
        products: The products that were scored.
    """
    lists = {"train": params.index.train_list, "val": params.index.val_list}
    cfg, rules = params.evaluate, params.pseudo_labels
    return {
        "classes": ["background", *classes],
        "data": {**dict.fromkeys(("name", "source", "tags"), UNSTATED), **source},
        "mask_source": mask_source,
        "image_sets": {split: _image_set(lists[split], names) for split, names in images.items()},
        "ignored_truth": IGNORE,
        "ignored_predictions": cfg.ignored_predictions,
        "absent_classes": "a class in neither truth nor prediction is left out of the mean",
        "boundary": f"within {cfg.boundary:g} of the image's diagonal",
        "intervals": f"{LEVEL} % percentile bootstrap over images, {cfg.resamples} resamples",
        "threshold": cfg.seed_threshold,
        "threshold_chosen_by": "fixed in params.yaml",
        "threshold_chosen_on": cfg.threshold_chosen_on,
        "threshold_sweep": "for analysis only, not used to choose",
        "readout": _readout(params),
        "pseudo_label_background": rules.background,
        "pseudo_label_threshold": rules.threshold if rules.background == "threshold" else None,
        "crf": _crf(params),
        "self_training": params.relabel.teachers,
        "cam_inference": params.infer_cam.model_dump(mode="json", exclude={"bits", "shard_size"}),
        "segmentation_inference": params.infer_seg.model_dump(mode="json"),
        "tags_at_inference": {product.name: product.uses_tags for product in products},
        "pretrained": _pretrained(params),
        "signals": _signals(params),
    }


def in_words(protocol: Mapping[str, Any]) -> str:
    """Describe the protocol in a paragraph."""
    classes = protocol["classes"]
    return (
        f"mIoU is the mean over {len(classes)} classes ({', '.join(classes)}) of intersection "
        "over union, with pixels counted over the whole split; "
        f"{protocol['absent_classes']}. Truth: {protocol['mask_source']}; its pixels of value "
        f"{protocol['ignored_truth']} never count, and "
        f"{_POLICIES[protocol['ignored_predictions']]}. CAM seeds take a background score of "
        f"{_settings(protocol)} Intervals: {protocol['intervals']}."
    )


def made_in_words(protocol: Mapping[str, Any]) -> str:
    """Describe in a paragraph how masks were made that were compared with no truth."""
    classes = protocol["classes"]
    return (
        f"{len(classes)} classes: {', '.join(classes)}. CAM seeds take a background score of "
        f"{_settings(protocol)}"
    )


def _settings(protocol: Mapping[str, Any]) -> str:
    """Finish a sentence on the threshold of CAM seeds, and describe all other settings."""
    return (
        f"{protocol['threshold']:g}, {protocol['threshold_chosen_by']}, chosen on "
        f"{protocol['threshold_chosen_on']}. {readout_in_words(protocol.get('readout', {}))}"
        "The network is asked at "
        f"{inference_in_words(protocol['segmentation_inference'])}. "
        f"Tags: {protocol['data']['tags']}. Signals used: {', '.join(protocol['signals'])}."
    )


def readout_in_words(readout: Mapping[str, Any]) -> str:
    """Describe in a sentence how maps were read from prototypes; empty if they were not."""
    if readout.get("method") != "prototypes":
        return ""
    return (
        f"The prototype readout has {readout['background_prototypes']} prototypes of the "
        f"background (weight {readout['background_weight']:g}) and {readout['prototypes']} of each "
        f"class, at temperature {readout['temperature']:g}, after {readout['rounds']} rounds; its "
        f"settings were chosen on {readout['settings_chosen_on']}. "
    )


def inference_in_words(inference: Mapping[str, Any]) -> str:
    """Describe the scales, flips and CRF of the segmentation network."""
    scales = ", ".join(f"{scale:g}" for scale in inference["scales"])
    return (
        f"{'scales' if len(inference['scales']) > 1 else 'scale'} {scales}, "
        f"{'with' if inference['flip'] else 'without'} flips, "
        f"{'with' if inference['crf'] else 'without'} CRF"
    )


def _image_set(name: str, images: Iterable[str]) -> dict[str, Any]:
    """Return the list's name, the number of images, and a digest of the set of images."""
    names = sorted(images)
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()[:12]
    return {"list": name, "images": len(names), "digest": digest}


def _readout(params: Params) -> dict[str, Any]:
    if params.readout.method == "cams":
        return {"method": "cams", "settings_chosen_on": "no masks"}
    settings = params.readout.model_dump(mode="json", exclude={"memory_mb", "shard_size"})
    return {**settings, "settings_chosen_on": params.evaluate.readout_chosen_on}


def _crf(params: Params) -> dict[str, Any]:
    if params.crf.method == "none":
        return {"method": "none"}
    return params.crf.model_dump(mode="json", exclude={"processes"})


def _pretrained(params: Params) -> dict[str, str]:
    """Compute network → what its backbone started from, and what that was trained on."""
    started = {}
    for stage in ("train_cam", "train_seg"):
        weights = getattr(params, stage).backbone.weights
        name = weights.name if isinstance(weights, Path) else weights
        trained_on = f" ({params.evaluate.pretrained_on})"
        started[stage] = name if weights == "none" else name + trained_on
    return started


def _signals(params: Params) -> list[str]:
    """List every signal that the pipeline learnt from."""
    signals = ["image tags"]
    if any(start != "none" for start in _pretrained(params).values()):
        signals.append(f"backbone pretrained on {params.evaluate.pretrained_on}")
    if params.pseudo_labels.background == "saliency" or _readout(params).get("saliency"):
        signals.append("saliency maps")
    return signals
