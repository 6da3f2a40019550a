"""Stage `pseudo_labels`: label maps of the training images from their class maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rca.config import PseudoLabels
from rca.data.cam_store import CamStore
from rca.data.images import write_label_map
from rca.data.index import read_training_index
from rca.labels.evidence import Evidence, read_evidence, saliency_of, training_records
from rca.labels.rules import label_map
from rca.labels.scores import class_scores
from rca.runtime.files import new_folder
from rca.runtime.progress import progress


def run(cfg: PseudoLabels, *, index: Path, maps: Path, out: Path) -> None:
    """Write one label map per training image.

    Args:
        cfg: The background score and the rules.
        index: The folder of the index.
        maps: The folder of stage `readout`.
        out: The folder to make; it is either complete or absent.

    Raises:
        DataError: A tag of an image has no map, or a saliency map is missing or of another size.
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
    """Make the label map of one image by applying the rules to its maps, uint8 (H, W)."""
    maps = evidence.maps_at_image_size()
    saliency = saliency_of(evidence.record, rules)
    scores = class_scores(maps, rules, saliency)
    return label_map(scores, evidence.classes, rules, cams=maps, saliency=saliency)
