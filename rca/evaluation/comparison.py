"""Whether results are comparable, and how their protocols differ.

Two numbers compare two methods only if everything else was equal. Every difference in protocol is
listed. If one affects a number by itself, the products whose numbers it affects are not comparable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rca.config import ConfigError
from rca.evaluation.products import NETWORKS, PRODUCTS, Product
from rca.evaluation.runs import Runs, differing


@dataclass(frozen=True)
class Difference:
    """A key of the protocol whose value is not the same in all runs.

    Attributes:
        key: The dotted key.
        values: The value in each run.
        touches: The shared products whose numbers the difference affects by itself.
        reason: Why it affects them, or why it does not.
    """

    key: str
    values: tuple[Any, ...]
    touches: tuple[Product, ...]
    reason: str


def compare(runs: Sequence[Runs]) -> tuple[list[Product], list[Difference]]:
    """Find the products that all runs have, and every difference in protocol.

    Raises:
        ConfigError: No product is in all runs.
    """
    shared = shared_products(runs)
    if not shared:
        raise ConfigError("these runs have no scored product in common")
    return shared, differences(runs, shared)


def shared_products(runs: Sequence[Runs]) -> list[Product]:
    """List the products that are scored in all runs."""
    return [
        product
        for product in PRODUCTS
        if all(product.name in run.metrics[0]["products"] for run in runs)
    ]


def differences(runs: Sequence[Runs], shared: Sequence[Product]) -> list[Difference]:
    """Find every difference in protocol, and which of the `shared` products it affects."""
    found = []
    of_others = {f"tags_at_inference.{product.name}" for product in {*PRODUCTS} - {*shared}}
    for key, values in differing([run.metrics[0]["protocol"] for run in runs]):
        if key in of_others:
            continue
        reason, touched = _rule(key)
        touches = tuple(product for product in shared if touched(product, runs))
        found.append(Difference(key, values, touches, reason))
    return found


def verdict(shared: Sequence[Product], found: Sequence[Difference], where: str) -> str:
    """Say in one sentence whether the numbers are comparable.

    Args:
        shared: the products that are scored in all runs.
        found: every difference in protocol.
        where: where the reader finds these differences, `above` or `below`.
    """
    spoilt = {product.name for difference in found for product in difference.touches}
    if not shared:
        return "Nothing to compare by number: no product is scored in all of them."
    if not spoilt:
        return "Comparable: no difference in protocol moves these numbers by itself."
    every = len(spoilt) == len(shared)
    which = "none of these numbers is" if every else "not all of these numbers are"
    return f"Not comparable: {which} of one protocol, see what matters {where}."


Touches = Callable[[Product, Sequence[Runs]], bool]


def _all(product: Product, _runs: Sequence[Runs]) -> bool:
    return True


def _none(product: Product, _runs: Sequence[Runs]) -> bool:
    return False


def _learnt(product: Product, _runs: Sequence[Runs]) -> bool:
    return product.name != "all_background_val"


def _from_tags(product: Product, runs: Sequence[Runs]) -> bool:
    return _learnt(product, runs) and product.name != "fully_supervised_val"


def _from_readout(product: Product, runs: Sequence[Runs]) -> bool:
    return _from_tags(product, runs) and not _cams(product, runs)


def _from_saliency(product: Product, runs: Sequence[Runs]) -> bool:
    used = any(
        run.protocol.get("pseudo_label_background") == "saliency"
        or run.protocol.get("readout.saliency")
        for run in runs
    )
    return used and _from_tags(product, runs)


def _networks(product: Product, _runs: Sequence[Runs]) -> bool:
    return product.name in NETWORKS.values()


def _cams(product: Product, _runs: Sequence[Runs]) -> bool:
    return product.name.startswith("cam_seeds")


def _train(product: Product, _runs: Sequence[Runs]) -> bool:
    return product.split == "train"


def _val(product: Product, _runs: Sequence[Runs]) -> bool:
    return product.split == "val"


def _uncertain(product: Product, runs: Sequence[Runs]) -> bool:
    every = [metrics["products"][product.name] for run in runs for metrics in run.metrics]
    return any(row["coverage"] != 100 for row in every)


def _crf_of_networks(product: Product, runs: Sequence[Runs]) -> bool:
    used = any(run.protocol.get("segmentation_inference.crf") for run in runs)
    return used and _networks(product, runs)


METHOD = "part of the method"
# Key or its beginning → why it matters, and to which products. The first match applies.
RULES: tuple[tuple[str, str, Touches], ...] = (
    ("classes", "the mean is over other classes", _all),
    ("mask_source", "other true masks", _all),
    ("image_sets.train.list", "the list's name; its images are compared by themselves", _none),
    ("image_sets.val.list", "the list's name; its images are compared by themselves", _none),
    ("image_sets.train", "other images are scored", _train),
    ("image_sets.val", "other images are scored", _val),
    ("ignored_truth", "other pixels count", _all),
    ("ignored_predictions", "pixels predicted 255 are counted in another way", _uncertain),
    ("absent_classes", "the mean is over other classes", _all),
    ("data.tags", "other image tags are another supervision", _from_tags),
    ("data.tags_sha256", "other image tags are another supervision", _from_tags),
    ("data.saliency_sha256", "other saliency maps are another signal", _from_saliency),
    ("data", "where the data came from; the images and masks are compared by themselves", _none),
    ("threshold_chosen_on", "a threshold chosen by true masks learns from pixels", _from_tags),
    (
        "readout.settings_chosen_on",
        "settings chosen by true masks learn from pixels",
        _from_readout,
    ),
    ("readout", METHOD, _none),
    ("self_training", METHOD, _none),
    ("signals", "learnt from other signals", _learnt),
    ("pretrained", "other initial weights; what they learnt from is among the signals", _none),
    ("segmentation_inference.scales", "more scales at inference add points", _networks),
    ("segmentation_inference.flip", "flips at inference add points", _networks),
    ("segmentation_inference.crf", "a CRF at inference adds points", _networks),
    ("segmentation_inference", METHOD, _none),
    ("cam_inference.scales", "more scales at inference add points", _cams),
    ("cam_inference.flip", "flips at inference add points", _cams),
    ("cam_inference", METHOD, _none),
    ("crf", "refines the predictions, or else the pseudo-labels only", _crf_of_networks),
    ("boundary", "of boundary IoU, not of mIoU", _none),
    ("intervals", "of the intervals, not of mIoU", _none),
    ("threshold", METHOD, _none),
    ("threshold_chosen_by", METHOD, _none),
    ("threshold_sweep", METHOD, _none),
    ("pseudo_label_background", METHOD, _none),
    ("pseudo_label_threshold", METHOD, _none),
)


def _rule(key: str) -> tuple[str, Touches]:
    if key.startswith("tags_at_inference."):
        name = key.partition(".")[2]
        return (
            "tags at inference limit what can be predicted",
            lambda product, _runs: product.name == name,
        )
    for beginning, reason, touches in RULES:
        if key == beginning or key.startswith(f"{beginning}."):
            return reason, touches
    return "of unknown effect", _all
