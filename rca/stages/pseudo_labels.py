"""Stage `pseudo_labels`: from the CAMs of the training images to label maps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rca.config import PseudoLabels
from rca.data.cam_store import CamStore
from rca.data.images import DataError, read_mask, write_label_map
from rca.data.index import Index, Record, read_training_index
from rca.files import new_folder
from rca.labels.rules import label_map
from rca.labels.scores import class_scores, upsample_cams
from rca.progress import progress


@dataclass(frozen=True)
class Evidence:
    """What is known of one image: its classes, (N,) 0-based, and their CAMs, (N, h, w)."""

    record: Record
    classes: np.ndarray
    cams: np.ndarray

    def cams_at_image_size(self) -> np.ndarray:
        """CAMs, float32 (N, H, W)."""
        return upsample_cams(self.cams, self.record.height, self.record.width)


def run(cfg: PseudoLabels, *, index: Path, cams: Path, out: Path) -> None:
    """Write one label map per training image to `out`.

    Args:
        cfg: background score and rules.
        index: folder of stage `index`.
        cams: folder of stage `infer_cam`.
        out: the folder to make; whole or absent.

    Raises:
        DataError: a class of an image has no CAM, or a saliency map is missing or of another size.
    """
    dataset = read_training_index(index)
    records = training_records(dataset, cfg)
    store = CamStore(cams / "train")
    with new_folder(out) as folder:
        for record in progress(records, len(records), "label maps"):
            evidence = read_evidence(store, record, dataset.classes)
            labels = label_from_cams(evidence, cfg)
            write_label_map(folder / f"{record.image}.png", labels, dataset.palette)


def label_from_cams(evidence: Evidence, rules: PseudoLabels) -> np.ndarray:
    """The rules applied to the CAMs' scores, uint8 (H, W)."""
    cams = evidence.cams_at_image_size()
    saliency = read_saliency(evidence.record, rules)
    scores = class_scores(cams, rules, saliency)
    return label_map(scores, evidence.classes, rules, cams=cams, saliency=saliency)


def training_records(dataset: Index, rules: PseudoLabels) -> list[Record]:
    """The training images, each with a saliency map if `rules` need one.

    Raises:
        DataError: images without a saliency map; the first few are named.
    """
    records = dataset.split("train")
    if rules.background == "saliency":
        without = [record.image for record in records if record.saliency is None]
        if without:
            raise DataError(
                f"{len(without)} of {len(records)} training images have no saliency map "
                f"({', '.join(without[:3])}{', …' if len(without) > 3 else ''}); "
                "add them to the data set, or set pseudo_labels.background: threshold"
            )
    return records


def read_evidence(store: CamStore, record: Record, names: tuple[str, ...]) -> Evidence:
    """The CAMs of `record`, which must be those of its tags.

    Raises:
        DataError: a tag has no CAM, or a CAM no tag.
    """
    classes, cams = store.read(record.image)
    stored = {names[label] if label < len(names) else f"class {label}" for label in classes}
    if stored != set(record.tags):
        raise DataError(
            f"{record.image}: tags are {sorted(record.tags)} but the CAM store holds "
            f"{sorted(stored)}; run `rca infer-cam` again"
        )
    return Evidence(record, classes, cams)


def read_saliency(record: Record, rules: PseudoLabels) -> np.ndarray | None:
    """Saliency from 0 to 1, float32 (H, W); None where `rules` do without.

    Raises:
        DataError: the map cannot be read or differs from the image in size.
    """
    if rules.background != "saliency" or record.saliency is None:
        return None
    saliency = read_mask(record.saliency)
    if saliency.shape != (record.height, record.width):
        raise DataError(
            f"{record.saliency}: {saliency.shape[1]} × {saliency.shape[0]} pixels, the image has "
            f"{record.width} × {record.height}; resize the map"
        )
    return saliency.astype(np.float32) / 255
