"""What a number means: the products that are scored, and the protocol they are scored by.

Numbers of this field differ by tens of points with the treatment of uncertain pixels, the choice
of thresholds and the signals used. So none is written without its protocol.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rca.config import IGNORE, Evaluate, PseudoLabels


@dataclass(frozen=True)
class Product:
    """Something that is scored against the true masks.

    Attributes:
        name: key in `metrics.json`.
        title: the same for people.
        split: `train` or `val`.
        uses_tags: whether the image's own tags limit the classes that can be predicted.
        previous: the product it improves on, if any.
    """

    name: str
    title: str
    split: str
    uses_tags: bool
    previous: str | None = None


PRODUCTS = (
    Product("all_background_val", "All background", "val", False),
    Product("cam_seeds_train", "CAM seeds", "train", True),
    Product("pseudo_labels_train", "Pseudo-labels", "train", True, "cam_seeds_train"),
    Product("crf_train", "Pseudo-labels after CRF", "train", True, "pseudo_labels_train"),
    Product("cam_seeds_val", "CAM seeds", "val", False, "all_background_val"),
    Product("network_val", "Segmentation network", "val", False, "cam_seeds_val"),
    Product("fully_supervised_val", "Same network, true masks", "val", False),
)

_POLICIES = {
    "strict": "a pixel predicted 255 (uncertain) counts as a miss",
    "background": "a pixel predicted 255 (uncertain) counts as background",
    "excluded": "a pixel predicted 255 (uncertain) is left out, and coverage says how many remain",
}


def protocol(
    cfg: Evaluate,
    rules: PseudoLabels,
    *,
    classes: Sequence[str],
    mask_source: str,
    products: Iterable[Product],
    pretrained: bool,
) -> dict[str, Any]:
    """The protocol as `metrics.json` holds it.

    Args:
        cfg: section `evaluate`.
        rules: section `pseudo_labels`.
        classes: C names, without the background.
        mask_source: where the true masks come from.
        products: what was scored.
        pretrained: whether the networks started from ImageNet weights.
    """
    signals = ["image tags"]
    if pretrained:
        signals.append("ImageNet-pretrained backbone")
    if rules.background == "saliency":
        signals.append("saliency maps")
    return {
        "classes": ["background", *classes],
        "mask_source": mask_source,
        "ignored_truth": IGNORE,
        "ignored_predictions": cfg.ignored_predictions,
        "threshold": rules.threshold,
        "threshold_chosen_by": "fixed in params.yaml, no mask seen",
        "threshold_sweep": "for analysis only, not used to choose",
        "pseudo_label_background": rules.background,
        "tags_at_inference": {product.name: product.uses_tags for product in products},
        "signals": signals,
    }


def in_words(protocol: Mapping[str, Any]) -> str:
    """The protocol as a paragraph."""
    classes = protocol["classes"]
    return (
        f"mIoU is the mean over {len(classes)} classes ({', '.join(classes)}) of intersection "
        "over union, with pixels counted over the whole split; a class in neither truth nor "
        f"prediction is left out. Truth: {protocol['mask_source']}; its pixels of value "
        f"{protocol['ignored_truth']} never count, and "
        f"{_POLICIES[protocol['ignored_predictions']]}. CAM seeds take a background score of "
        f"{protocol['threshold']:g}, {protocol['threshold_chosen_by']}. Signals used: "
        f"{', '.join(protocol['signals'])}."
    )
