"""The products: what is scored against the true masks."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

from rca.config import ROUNDS


@dataclass(frozen=True)
class Product:
    """Something that is scored against the true masks.

    Attributes:
        name: The key in `metrics.json`.
        title: The name for display.
        split: `train` or `val`.
        uses_tags: Whether the image's own tags limit the classes that can be predicted.
        previous: The product that this one improves on, if any.
    """

    name: str
    title: str
    split: str
    uses_tags: bool
    previous: str | None = None


def _round(number: int) -> tuple[Product, Product]:
    """Describe a round of self-training: its label maps, and a network trained on them."""
    before = {"train": "crf_train", "val": "network_val"}
    if number > 1:
        before = {split: f"{ROUNDS[number - 2]}_{split}" for split in before}
    name, title = ROUNDS[number - 1], f"round {number}"
    return (
        Product(f"{name}_train", f"Labels by the network, {title}", "train", True, before["train"]),
        Product(f"{name}_val", f"Segmentation network, {title}", "val", False, before["val"]),
    )


_ROUNDS = [_round(number) for number in range(1, len(ROUNDS) + 1)]

PRODUCTS = (
    Product("all_background_val", "All background", "val", False),
    Product("cam_seeds_train", "CAM seeds", "train", True),
    Product("readout_train", "Prototype readout", "train", True, "cam_seeds_train"),
    Product("pseudo_labels_train", "Pseudo-labels", "train", True, "readout_train"),
    Product("crf_train", "Pseudo-labels after CRF", "train", True, "pseudo_labels_train"),
    *(labels for labels, _ in _ROUNDS),
    Product("cam_seeds_val", "CAM seeds", "val", False, "all_background_val"),
    Product("readout_val", "Prototype readout", "val", False, "cam_seeds_val"),
    Product("network_val", "Segmentation network", "val", False, "readout_val"),
    *(network for _, network in _ROUNDS),
    Product("fully_supervised_val", "Same network, true masks", "val", False),
)
# The supervision of a network, of `train_seg.supervisions` → its masks of the validation images.
NETWORKS = {
    "pseudo": "network_val",
    **{name: network.name for name, (_, network) in zip(ROUNDS, _ROUNDS, strict=True)},
    "truth": "fully_supervised_val",
}
_PREVIOUS = {product.name: product.previous for product in PRODUCTS}


def improved_on(product: Product, scored: Container[str]) -> str | None:
    """Find the nearest product before `product` that is among the `scored`, if any."""
    name = product.previous
    while name is not None and name not in scored:
        name = _PREVIOUS[name]
    return name
