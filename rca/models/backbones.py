"""Backbones F = FCN(I), Eq. 1: torchvision's networks, dilated to a given stride, or timm's.

Batch normalisation always uses its stored statistics, as in DeepLab: batches here are small, and a
result must not depend on how images are grouped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision import models

from rca.config import TIMM, ConfigError
from rca.config import Backbone as BackboneConfig
from rca.models.timm_backbones import timm_blocks

NORMS = nn.modules.batchnorm._BatchNorm  # 1d, 2d, 3d and so on; other norms store no statistics


class Backbone(nn.Sequential):
    """A sequence of blocks from images to features.

    Attributes:
        channels: D, the number of channels of the features.
        stride: The distance in input pixels between neighbouring features.
        first: The block that the forward pass begins with. Above 0, the input is the output of the
            block before it.
    """

    channels: int
    stride: int
    first: int = 0

    def forward(self, images: Tensor) -> Tensor:
        """Compute the features, (B, D, h, w), of normalised images, (B, 3, H, W)."""
        for block in list(self)[self.first :]:
            images = block(images)
        return images

    def train(self, mode: bool = True) -> Backbone:
        """Set training mode, except for batch normalisation, which keeps its stored statistics."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, NORMS):
                module.eval()
        return self


def build_backbone(cfg: BackboneConfig) -> Backbone:
    """Build the configured backbone, with its weights and with its first blocks frozen.

    Raises:
        ConfigError: The weights belong to another backbone or are unavailable.
    """
    of_timm = cfg.name.startswith(TIMM)
    backbone = Backbone(*timm_blocks(cfg)) if of_timm else _of_torchvision(cfg)
    del backbone[cfg.blocks or len(backbone) :]
    for block in list(backbone)[: cfg.frozen_blocks]:
        block.requires_grad_(False)
    backbone.stride = cfg.stride
    with torch.no_grad():
        backbone.channels = backbone.eval()(torch.zeros(1, 3, 64, 64)).shape[1]
    return backbone.train()


def _of_torchvision(cfg: BackboneConfig) -> Backbone:
    build = {
        "mobilenet_v2": _mobilenet_v2,
        "resnet50": _resnet,
        "resnet101": _resnet,
        "vgg16": _vgg16,
    }[cfg.name]
    backbone = build(cfg)
    if isinstance(cfg.weights, Path):
        _load(backbone, cfg.weights)
    return backbone


def _mobilenet_v2(cfg: BackboneConfig) -> Backbone:
    features = _torchvision(models.mobilenet_v2, models.MobileNet_V2_Weights.IMAGENET1K_V1, cfg)
    backbone = Backbone(*features.features)
    if cfg.stride <= 16:
        _replace_stride(backbone[14:], 32 // cfg.stride)
    if cfg.stride == 8:
        _replace_stride(backbone[7:14], 2)
    return backbone


def _resnet(cfg: BackboneConfig) -> Backbone:
    build, weights = {
        "resnet50": (models.resnet50, models.ResNet50_Weights.IMAGENET1K_V1),
        "resnet101": (models.resnet101, models.ResNet101_Weights.IMAGENET1K_V1),
    }[cfg.name]
    net = _torchvision(build, weights, cfg)
    stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
    backbone = Backbone(stem, net.layer1, net.layer2, net.layer3, net.layer4)
    if cfg.stride <= 16:
        _replace_stride(backbone[4:], 32 // cfg.stride)
    if cfg.stride == 8:
        _replace_stride(backbone[3:4], 2)
    return backbone


def _vgg16(cfg: BackboneConfig) -> Backbone:
    """Build VGG16 without its last pooling layer.

    At stride 8 the fourth pooling layer has stride 1, and conv5 is dilated.
    """
    if cfg.stride == 32:
        raise ConfigError("backbone.stride: vgg16 comes with stride 8 or 16, its last pool dropped")
    layers = list(_torchvision(models.vgg16, models.VGG16_Weights.IMAGENET1K_V1, cfg).features)[:30]
    if cfg.stride == 8:
        layers[23] = nn.MaxPool2d(kernel_size=3, stride=1, padding=1)
        _replace_stride(layers[24:], 2)
    return Backbone(*layers)


def _torchvision(
    build: Callable[..., nn.Module], weights: models.WeightsEnum, cfg: BackboneConfig
) -> Any:
    """Build one of torchvision's networks, with ImageNet's weights if these are configured.

    Its type is `Any`, since `nn.Module` does not declare the parts that callers use.
    """
    if cfg.weights != "imagenet":
        return build()
    try:
        # By default torchvision would unpickle any file that it finds in the cache.
        state = weights.get_state_dict(check_hash=True, weights_only=True)
    except OSError as error:  # URLError too
        raise ConfigError(
            f"backbone.weights: the ImageNet weights of {cfg.name} could not be fetched from "
            f"{weights.url} ({error}); fetch them on a machine with internet into "
            f"{torch.hub.get_dir()}/checkpoints"
        ) from None
    except (RuntimeError, UnpicklingError, EOFError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(
            f"backbone.weights: {torch.hub.get_dir()}/checkpoints/{Path(weights.url).name} is not "
            f"what torchvision offers ({reason}); remove it, and it is fetched again"
        ) from None
    # As in torchvision's own builders, VGG alone skips the initial weights that these replace.
    net = build(init_weights=False) if build is models.vgg16 else build()
    net.load_state_dict(state)
    return net


def _replace_stride(blocks: Iterable[nn.Module], dilation: int) -> None:
    """Undo the stride of `blocks`, and dilate their convolutions to keep the receptive field."""
    for block in blocks:
        for conv in block.modules():
            if isinstance(conv, nn.Conv2d):
                strided = conv.stride == (2, 2)
                conv.stride = (1, 1)
                if conv.kernel_size == (3, 3):
                    rate = dilation // 2 if strided else dilation
                    conv.dilation = conv.padding = (rate, rate)


def _load(backbone: Backbone, path: Path) -> None:
    if not path.is_file():
        raise ConfigError(f"backbone.weights: {path}: no such file")
    try:
        read = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ConfigError(
            f"backbone.weights: {path}: no usable weights ({error}); fetch the file again"
        ) from None
    state = {key.removeprefix("features."): value for key, value in read.items()}
    try:
        backbone.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()
        raise ConfigError(f"backbone.weights: {path} is not of this backbone: {reason}") from None
