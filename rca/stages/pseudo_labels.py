"""Stage `pseudo_labels`: from the class maps of the training images to label maps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rca.config import PseudoLabels
from rca.data.cam_store import CamStore
from rca.data.images import DataError, write_label_map
from rca.data.index import Index, Record, read_training_index
from rca.data.saliency import read_saliency, require_saliency
from rca.labels.rules import label_map
from rca.labels.scores import class_scores, upsample_cams
from rca.runtime.files import new_folder
from rca.runtime.progress import progress


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


def run(cfg: PseudoLabels, *, index: Path, maps: Path, out: Path) -> None:
    """Write one label map per training image to `out`.

    Args:
        cfg: background score and rules.
        index: folder of stage `index`.
        maps: folder of stage `readout`.
        out: the folder to make; whole or absent.

    Raises:
        DataError: a class of an image has no CAM, or a saliency map is missing or of another size.
    """
    dataset = read_training_index(index)
    records = training_records(dataset, cfg)
    store = CamStore(maps / "train")
    with new_folder(out) as folder:
        for record in progress(records, len(records), "label maps"):
            evidence = read_evidence(store, record, dataset.classes)
            labels = label_from_maps(evidence, cfg)
            write_label_map(folder / f"{record.image}.png", labels, dataset.palette)


def label_from_maps(evidence: Evidence, rules: PseudoLabels) -> np.ndarray:
    """The rules applied to the scores of the maps, uint8 (H, W)."""
    maps = evidence.maps_at_image_size()
    saliency = saliency_of(evidence.record, rules)
    scores = class_scores(maps, rules, saliency)
    return label_map(scores, evidence.classes, rules, cams=maps, saliency=saliency)


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
