"""timm's networks as backbones: blocks in a row that compute what timm's own network does."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from rca.config import Backbone, ConfigError, Head, TrainCam
from rca.data.views import MEAN, STD
from rca.models import timm_backbones
from rca.models.backbones import build_backbone
from rca.models.cam_network import CamNetwork
from rca.models.features import block_features
from rca.models.weights import load_network, save_weights

timm = pytest.importorskip("timm")
ROWS = [  # network, stride, blocks, channels
    ("resnet18", 8, 5, 512),
    ("resnet18", 16, 5, 512),
    ("resnet18", 32, 5, 512),
    ("convnext_atto", 16, 4, 320),
    ("efficientnet_lite0", 16, 8, 320),
    ("mobilenetv3_small_050", 8, 7, 288),
]


def built(name: str, stride: int = 32, weights: Path | str = "none", **more: int):
    torch.manual_seed(0)
    return build_backbone(Backbone(name=f"timm/{name}", stride=stride, weights=weights, **more))


def photograph(*size: int) -> torch.Tensor:
    return torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("name", "stride", "blocks", "channels"), ROWS)
def test_build_backbone__has_the_stride_blocks_and_channels_of_the_network(
    name, stride, blocks, channels
):
    backbone = built(name, stride).eval()
    with torch.no_grad():
        features = backbone(photograph(64, 96))
    assert len(backbone) == blocks
    assert features.shape == (1, channels, 64 // stride, 96 // stride)
    assert (backbone.channels, backbone.stride) == (channels, stride)
    assert backbone.train().training


@pytest.mark.parametrize("name", ["resnet18", "convnext_atto", "mobilenetv3_small_050"])
def test_build_backbone__blocks_put_out_timms_own_features(name):
    backbone = built(name, 16).eval()
    torch.manual_seed(0)
    theirs = timm.create_model(name, features_only=True, output_stride=16).eval()
    view = photograph(64, 64)
    with torch.no_grad():
        expected, found = theirs(view), []
        for block in backbone:
            view = block(view)
            found.append(view)
    for features in expected:
        assert any(torch.equal(features, other) for other in found)
    assert torch.equal(expected[-1], found[-1])


def test_build_backbone__photographs_come_as_the_weights_want_them():
    """tf_efficientnet_lite0 was trained on values from -1 to 1."""
    backbone = built("tf_efficientnet_lite0").eval()
    torch.manual_seed(0)
    theirs = timm.create_model("tf_efficientnet_lite0", features_only=True).eval()
    values = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    mean, std = torch.tensor((MEAN, STD))[..., None, None]
    with torch.no_grad():
        expected = theirs((values - 0.5) / 0.5)[-1]
        torch.testing.assert_close(backbone((values - mean) / std), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_lite0"])
def test_backbone__train_keeps_normalisation_on_stored_statistics(name):
    backbone = built(name).train()
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    backbone(photograph(64, 64))
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())
    assert any(key.endswith("running_mean") for key in before)


def test_backbone__layer_norms_learn_and_see_each_image_alone():
    backbone = built("convnext_atto").train()
    one, other = photograph(64, 64), torch.ones(1, 3, 64, 64)
    together = backbone(torch.cat([one, other]))
    torch.testing.assert_close(together[:1], backbone(one), rtol=1e-4, atol=1e-5)
    together.mean().backward()
    norms = [m for m in backbone.modules() if isinstance(m, nn.LayerNorm)]
    assert norms and all(norm.weight.grad is not None for norm in norms)


def test_build_backbone__blocks_and_frozen_blocks():
    backbone = built("convnext_atto", blocks=3, frozen_blocks=2)
    assert (len(backbone), backbone.channels) == (3, 160)
    assert not any(parameter.requires_grad for parameter in backbone[:2].parameters())
    assert all(parameter.requires_grad for parameter in backbone[2:].parameters())


def test_cam_network__gives_maps_and_is_itself_again_from_its_weights(tmp_path):
    backbone = Backbone(name="timm/tf_efficientnet_lite0", stride=16, weights="none")
    cfg = TrainCam(backbone=backbone, head=Head(depth=0))
    network = CamNetwork(2, cfg).eval()
    path, classes = tmp_path / "weights.safetensors", ("cat", "dog")
    save_weights(path, network, classes, cfg)
    loaded = load_network(path, CamNetwork, TrainCam, classes)
    with torch.no_grad():
        maps = network(photograph(64, 96))
        assert maps.final.shape == (1, 2, 4, 6)
        assert torch.equal(maps.final, loaded(photograph(64, 96)).final)


def test_block_features__of_stages_are_on_one_grid():
    found = block_features(built("resnet18", 16).eval(), photograph(64, 96)[0], [2, 4], [64])
    assert [tuple(maps.shape) for maps in found] == [(128, 4, 6), (512, 4, 6)]


@pytest.mark.parametrize("name", ["convnext_atto", "efficientnet_lite0"])
def test_build_backbone__takes_the_weights_of_timms_whole_network(name, tmp_path):
    torch.manual_seed(2)
    whole = timm.create_model(name).eval()
    save_file(whole.state_dict(), tmp_path / "model.safetensors")
    backbone = built(name, weights=tmp_path / "model.safetensors").eval()
    with torch.no_grad():
        expected = whole.forward_intermediates(photograph(64, 64), intermediates_only=True)[-1]
        torch.testing.assert_close(backbone(photograph(64, 64)), expected)


def test_build_backbone__foreign_weights_are_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file(timm.create_model("resnet34").state_dict(), path)
    with pytest.raises(ConfigError, match=r"not of this backbone: layer1\.0\.conv1\.weight is \("):
        built("resnet26", weights=path)
    with pytest.raises(ConfigError, match=r"not of this backbone: stem_0\.weight is missing"):
        built("convnext_atto", weights=path)
    path.write_text("no weights")
    with pytest.raises(ConfigError, match="not a safetensors file"):
        built("resnet18", weights=path)
    with pytest.raises(ConfigError, match=r"nowhere\.safetensors: no such file"):
        built("resnet18", weights=Path("nowhere.safetensors"))


@pytest.mark.parametrize(
    ("name", "stride", "weights", "said"),
    [
        ("resnet81", 16, "none", "has no model resnet81; did you mean timm/resnet18"),
        ("resnet18.a9_in1k", 16, "none", r"did you mean timm/resnet18\.a"),
        ("vit_tiny_patch16_224", 16, "none", "is not a sequence of convolutional stages"),
        ("swin_tiny_patch4_window7_224", 32, "none", "is not a sequence of convolutional stages"),
        ("coatnet_nano_rw_224", 32, "none", "not take photographs of any size"),
        ("densenet121", 8, "none", r"backbone\.stride: timm/densenet121 has .* stride 32"),
        ("efficientnet_b0_g8_gn", 32, "imagenet", "timm has no weights of efficientnet_b0_g8_gn"),
    ],
)
def test_build_backbone__what_cannot_be_is_said_in_a_line(name, stride, weights, said):
    with pytest.raises(ConfigError, match=said) as raised:
        built(name, stride, weights)
    assert "\n" not in str(raised.value)


def test_build_backbone__weights_that_cannot_be_fetched_say_where_they_are(monkeypatch):
    create = timm.create_model

    def offline(name, pretrained=False, **options):
        if pretrained:
            raise FileNotFoundError("no such host\nand more")
        return create(name, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    where = r"\(no such host\); fetch model\.safetensors of huggingface\.co/timm/resnet18\."
    with pytest.raises(ConfigError, match=where):
        built("resnet18", 16, "imagenet")


def test_build_backbone__without_timm_names_the_extra(monkeypatch):
    monkeypatch.setattr(timm_backbones, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'rca-wsss\[timm\]'"):
        built("resnet18")
