"""What the label rules and the CRF start from: the class maps of an image, and its saliency."""

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
    """What is known of one image: its classes, (N,) 0-based, and their maps, (N, h, w).

    The maps are CAMs or, with `background: posterior`, posteriors.
    """

    record: Record
    classes: np.ndarray
    maps: np.ndarray

    def maps_at_image_size(self) -> np.ndarray:
        """Maps, float32 (N, H, W)."""
        return upsample_cams(self.maps, self.record.height, self.record.width)


def training_records(dataset: Index, rules: PseudoLabels) -> list[Record]:
    """The training images, each with a saliency map if `rules` need one.

    Raises:
        DataError: images without a saliency map; the first few are named.
    """
    records = dataset.split("train")
    if rules.background == "saliency":
        require_saliency(records, "pseudo_labels.background: threshold")
    return records


def read_evidence(store: CamStore, record: Record, names: tuple[str, ...]) -> Evidence:
    """The maps of `record`, which must be those of its tags.

    Raises:
        DataError: a tag has no map, or a map no tag.
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
    """Saliency from 0 to 1, float32 (H, W); None where `rules` do without.

    Raises:
        DataError: the map cannot be read or differs from the image in size.
    """
    return read_saliency(record) if rules.background == "saliency" else None
