"""The input of the label rules and the CRF: the class maps of an image, and its saliency map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rca.config import PseudoLabels
from rca.data.cam_store import CamStore
from rca.data.images import DataError
from rca.data.index import Index, Record
from rca.data.saliency import read_saliency, require_saliency
from rca.labels.scores import upsample_cams


@dataclass(frozen=True)
class Evidence:
    """The classes of one image and their maps.

    Attributes:
        record: The image.
        classes: The 0-based classes, (N,).
        maps: The maps of the classes, (N, h, w): CAMs or, with `background: posterior`, posteriors.
    """

    record: Record
    classes: np.ndarray
    maps: np.ndarray

    def maps_at_image_size(self) -> np.ndarray:
        """Upsample the maps to the size of the image, float32 (N, H, W)."""
        return upsample_cams(self.maps, self.record.height, self.record.width)


def training_records(dataset: Index, rules: PseudoLabels) -> list[Record]:
    """Return the training images, each with a saliency map if `rules` need one.

    Raises:
        DataError: Images have no saliency map; the message names the first few.
    """
    records = dataset.split("train")
    if rules.background == "saliency":
        require_saliency(records, "pseudo_labels.background: threshold")
    return records


def read_evidence(store: CamStore, record: Record, names: tuple[str, ...]) -> Evidence:
    """Read the maps of an image, which must be those of its tags.

    Args:
        store: The store of the maps.
        record: The image.
        names: The names of all classes, in label order.

    Raises:
        DataError: A tag has no map, or a map has no tag.
    """
    classes, maps = store.read(record.image)
    stored = {names[label] if label < len(names) else f"class {label}" for label in classes}
    if stored != set(record.tags):
        raise DataError(
            f"{record.image}: tags are {sorted(record.tags)} but the store of maps holds "
            f"{sorted(stored)}; run `rca infer-cam` and `rca readout` again"
        )
    return Evidence(record, classes, maps)


def saliency_of(record: Record, rules: PseudoLabels) -> np.ndarray | None:
    """Read an image's saliency map, float32 (H, W), from 0 to 1; None if `rules` do not use it.

    Raises:
        DataError: The map cannot be read or differs from the image in size.
    """
    return read_saliency(record) if rules.background == "saliency" else None
