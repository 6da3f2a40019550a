"""The demo's labels with another backbone's features in the readout.

    python tools/efficientnet_lite.py --source FOLDER --out data/efficientnet_lite0.safetensors
    python -m benchmarks.backbones             measure after `make demo`, record, render
    python -m benchmarks.backbones --render    only the table in docs/explanation/readout.md

Nothing is trained. Each row runs the stages `readout`, `pseudo_labels` and `crf` of params.yaml on
the demo's CAMs, with the features of another backbone with ImageNet weights. The blocks that the
readout uses are frozen in the demo, too. They are the last block of stride 16 and the second to
last of those that had stride 32, chosen without any mask. The scores are of the training images'
labels, with tags known as for all labels of training images, and of the validation images' readout.
A killed measurement resumes after the last finished stage.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.masks import decided, make_labels, miou, stored
from rca.config import Params, PseudoLabels, load
from rca.data.cam_store import CamStore
from rca.data.index import Index, read_index
from rca.models.cam_network import CamNetwork
from rca.models.weights import save_weights
from rca.runtime.files import write_json
from tools.records import origin, place_tables

RECORD, PAGE = Path("benchmarks/results/backbones.json"), Path("docs/explanation/readout.md")
LITE = "data/efficientnet_lite0.safetensors"
# Row → its changes to `train_cam.backbone`, and its `readout.blocks`.
BACKBONES: dict[str, tuple[dict[str, Any], Sequence[int]]] = {
    "MobileNetV2": ({}, (13, 16)),
    "EfficientNet-Lite0": ({"name": "timm/tf_efficientnet_lite0", "weights": LITE}, (5, 6)),
}


def with_backbone(params: Params, name: str) -> Params:
    """Return the parameters with the backbone of a row."""
    change, blocks = BACKBONES[name]
    content = params.model_dump(mode="json")
    content["train_cam"]["backbone"] |= change
    content["readout"]["blocks"] = list(blocks)
    return Params.model_validate(content)


def run(params: Params, demo: Path, folder: Path) -> None:
    """Run the stages that make the labels of a row; finished stages are skipped.

    Args:
        params: The parameters of the row.
        demo: The folder of a finished run, whose index and CAMs are used.
        folder: The folder that gets the stages' folders.
    """
    index, weights = demo / "index", folder / "weights.safetensors"
    if not weights.exists():  # with untrained heads, which the readout does not use
        classes = read_index(index).classes
        network = CamNetwork(len(classes), params.train_cam)
        folder.mkdir(parents=True, exist_ok=True)
        save_weights(weights, network, classes, params.train_cam)
    make_labels(
        params,
        index=index,
        weights=weights,
        cams=demo / "infer_cam",
        out=folder,
        state=folder / "state",
    )


def scores(data: Index, folder: Path, rules: PseudoLabels) -> dict[str, float]:
    """Score the labels before and after the CRF, and the validation readout: mIoU in percent."""
    store = CamStore(folder / "readout" / "val")
    found = {
        "pseudo_labels_train": miou(
            data, data.split("train"), partial(stored, folder / "pseudo_labels")
        ),
        "crf_train": miou(data, data.split("train"), partial(stored, folder / "crf")),
        "readout_val": miou(data, data.split("val"), partial(decided, store, rules)),
    }
    return {name: round(100 * value, 1) for name, value in found.items()}


def table(content: Mapping[str, Any]) -> str:
    """Render the record as a Markdown table."""
    lines = [
        "| backbone | labels | after the CRF | readout of validation images |",
        "|---|---:|---:|---:|",
    ]
    lines += [
        f"| {row['name']} | {row['pseudo_labels_train']:.1f} | {row['crf_train']:.1f} "
        f"| {row['readout_val']:.1f} |"
        for row in content["rows"]
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure unless `--render` is given, then render the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--results", type=Path, default=Path("results/demo"))
    options.add_argument("--params", type=Path, default=Path("params.yaml"))
    options.add_argument("--work", type=Path, default=Path("state/backbones"))
    options.add_argument("--render", action="store_true")
    chosen = options.parse_args()
    if not chosen.render:
        base, rows = load(chosen.params), []
        data = read_index(chosen.results / "index")
        for number, name in enumerate(BACKBONES):
            folder = chosen.work / str(number)
            run(with_backbone(base, name), chosen.results, folder)
            rows.append({"name": name, **scores(data, folder, base.pseudo_labels)})
            print(rows[-1], flush=True)
        write_json(RECORD, {"rows": rows, "params": base.model_dump(mode="json"), **origin()})
    content = json.loads(RECORD.read_text(encoding="utf-8"))
    place_tables(PAGE, {str(RECORD): table(content)})


if __name__ == "__main__":
    main()
