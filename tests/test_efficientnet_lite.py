"""EfficientNet-Lite0's tensors get timm's names."""

from __future__ import annotations

import pytest
import torch

from tools.efficientnet_lite import timm_names

timm = pytest.importorskip("timm")
NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def packaged_names() -> list[str]:
    """The package's names in the order of its file: stem, 16 blocks, head, classifier."""
    names = ["_conv_stem.weight", *(f"_bn0.{part}" for part in NORM)]
    for number in range(16):
        layers = [("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")]
        for convolution, norm in layers[number == 0 :]:
            names.append(f"_blocks.{number}.{convolution}.weight")
            names += [f"_blocks.{number}.{norm}.{part}" for part in NORM]
    names += ["_conv_head.weight", *(f"_bn1.{part}" for part in NORM)]
    return [*names, "_fc.weight", "_fc.bias"]


def test_timm_names__are_those_of_timms_network_in_its_order():
    """Both files list the layers as they follow each other, so the order tells what is what."""
    theirs = timm.create_model("tf_efficientnet_lite0").state_dict()
    renamed = timm_names(dict(zip(packaged_names(), theirs.values(), strict=True)))
    assert list(renamed) == list(theirs)
    assert all(torch.equal(renamed[key], value) for key, value in theirs.items())
