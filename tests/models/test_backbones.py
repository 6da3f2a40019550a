"""Backbones: stride, reach and weights as the configuration asks."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision import models

from rca.config import Backbone, ConfigError
from rca.models.backbones import build_backbone

EMBEDDED = Path("data/embedded/mobilenet_v2_imagenet_features.safetensors")


@pytest.mark.parametrize(
    ("name", "stride", "channels"),
    [
        ("mobilenet_v2", 8, 1280),
        ("mobilenet_v2", 16, 1280),
        ("mobilenet_v2", 32, 1280),
        ("resnet50", 8, 2048),
        ("resnet50", 16, 2048),
        ("vgg16", 8, 512),
        ("vgg16", 16, 512),
    ],
)
def test_build_backbone__has_the_stride_and_channels_it_says(name, stride, channels):
    backbone = build_backbone(Backbone(name=name, stride=stride, weights="none")).eval()
    with torch.no_grad():
        features = backbone(torch.randn(1, 3, 64, 96))
    assert features.shape == (1, channels, 64 // stride, 96 // stride)
    assert (backbone.channels, backbone.stride) == (channels, stride)


def test_build_backbone__vgg16_at_stride_8_is_the_papers():
    """conv5 dilated by 2, pool4 3×3 with stride 1, no pool5."""
    backbone = build_backbone(Backbone(name="vgg16", stride=8, weights="none"))
    convs = [layer for layer in backbone if isinstance(layer, nn.Conv2d)]
    pools = [layer for layer in backbone if isinstance(layer, nn.MaxPool2d)]
    assert [conv.dilation[0] for conv in convs] == [1] * 10 + [2] * 3
    assert [pool.stride for pool in pools] == [2, 2, 2, 1]
    assert pools[-1].kernel_size == 3


def test_build_backbone__resnet_dilates_as_torchvision_does():
    theirs = models.resnet50(replace_stride_with_dilation=[False, True, True])
    ours = build_backbone(Backbone(name="resnet50", stride=8, weights="none"))
    for block, name in ((3, "layer3"), (4, "layer4")):
        ours[block].load_state_dict(getattr(theirs, name).state_dict())
        for mine, other in zip(ours[block].modules(), getattr(theirs, name).modules(), strict=True):
            if isinstance(mine, nn.Conv2d):
                assert (mine.stride, mine.dilation, mine.padding) == (
                    other.stride,
                    other.dilation,
                    other.padding,
                )


def test_build_backbone__dilation_sees_the_same_pixels():
    """Features at stride 16, sampled every second one, are those of stride 32."""
    weights = {"weights": EMBEDDED}
    fine = build_backbone(Backbone(name="mobilenet_v2", stride=16, **weights)).eval()
    coarse = build_backbone(Backbone(name="mobilenet_v2", stride=32, **weights)).eval()
    image = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(fine(image)[..., ::2, ::2], coarse(image), rtol=0, atol=1e-4)


def test_build_backbone__embedded_weights_are_torchvisions_mobilenet():
    theirs = models.mobilenet_v2().eval()
    ours = build_backbone(Backbone(name="mobilenet_v2", stride=32, weights=EMBEDDED)).eval()
    theirs.features.load_state_dict(ours.state_dict())
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(theirs.features(image), ours(image))


def test_build_backbone__frozen_blocks_do_not_learn():
    backbone = build_backbone(Backbone(name="mobilenet_v2", weights="none", frozen_blocks=7))
    assert not any(parameter.requires_grad for parameter in backbone[:7].parameters())
    assert all(parameter.requires_grad for parameter in backbone[7:].parameters())


def test_backbone__train_keeps_normalisation_on_stored_statistics():
    backbone = build_backbone(Backbone(name="mobilenet_v2", weights="none")).train()
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    backbone(torch.randn(2, 3, 32, 32))
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())
    assert backbone.training


def test_build_backbone__missing_weights_name_the_file():
    with pytest.raises(ConfigError, match=r"nowhere\.safetensors: no such file"):
        build_backbone(Backbone(name="mobilenet_v2", weights=Path("nowhere.safetensors")))


def test_build_backbone__foreign_weights_are_refused():
    with pytest.raises(ConfigError, match="is not of this backbone"):
        build_backbone(Backbone(name="resnet50", weights=EMBEDDED))


def test_build_backbone__vgg16_has_no_stride_32():
    with pytest.raises(ConfigError, match=r"backbone\.stride"):
        build_backbone(Backbone(name="vgg16", stride=32, weights="none"))


def test_build_backbone__fewer_blocks_drop_the_last_convolution():
    """320 features come out of MobileNetV2's last bottleneck, 1280 of the convolution after it."""
    whole = build_backbone(Backbone(name="mobilenet_v2", stride=16, weights=EMBEDDED)).eval()
    cut = build_backbone(
        Backbone(name="mobilenet_v2", stride=16, weights=EMBEDDED, blocks=18)
    ).eval()
    image = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        features = cut(image)
        assert torch.equal(whole[18](features), whole(image))
    assert (cut.channels, features.shape[1]) == (320, 320)
