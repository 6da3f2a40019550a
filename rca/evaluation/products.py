"""What is scored against the true masks."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass


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
    Product("readout_train", "Prototype readout", "train", True, "cam_seeds_train"),
    Product("pseudo_labels_train", "Pseudo-labels", "train", True, "readout_train"),
    Product("crf_train", "Pseudo-labels after CRF", "train", True, "pseudo_labels_train"),
    Product("cam_seeds_val", "CAM seeds", "val", False, "all_background_val"),
    Product("readout_val", "Prototype readout", "val", False, "cam_seeds_val"),
    Product("network_val", "Segmentation network", "val", False, "readout_val"),
    Product("fully_supervised_val", "Same network, true masks", "val", False),
)
_PREVIOUS = {product.name: product.previous for product in PRODUCTS}


def improved_on(product: Product, scored: Container[str]) -> str | None:
    """The nearest product before `product` that is among the `scored`, if any."""
    name = product.previous
    while name is not None and name not in scored:
        name = _PREVIOUS[name]
    return name
