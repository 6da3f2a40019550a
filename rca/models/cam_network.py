"""The classification network whose class activation maps RCA sharpens (Eqs. 1, 9 and 10)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rca.config import TrainCam
from rca.method.aggregation import aggregate
from rca.models.backbones import build_backbone
from rca.models.initial import normal_weights


@dataclass(frozen=True)
class CamMaps:
    """What the network says of B images.

    Attributes:
        features: F, (B, D, h, w).
        coarse: C, class maps of the features alone, (B, C, h, w).
        final: O, class maps of features and aggregated context, (B, C, h, w); C without RSA.
    """

    features: Tensor
    coarse: Tensor
    final: Tensor


class CamNetwork(nn.Module):
    """Backbone, coarse head and, with RSA, prototypes and the final head.

    The prototypes are buffers: they go into the checkpoint, so inference needs no labels (Alg. 3).
    Differs from the released code: one head shared by all classes in place of one head a class.
    """

    def __init__(self, classes: int, cfg: TrainCam) -> None:
        super().__init__()
        self.backbone = build_backbone(cfg.backbone)
        channels = self.backbone.channels
        self.rsa = cfg.rsa
        self.coarse_head = class_head(channels, classes, cfg.head.depth, cfg.head.width)
        if cfg.rsa.enabled:
            self.final_head = class_head(2 * channels, classes, cfg.head.depth, cfg.head.width)
            k = cfg.rsa.prototypes
            self.register_buffer("prototypes", torch.zeros(classes, k, channels))
            self.register_buffer("prototypes_valid", torch.zeros(classes, k, dtype=torch.bool))

    def forward(self, images: Tensor) -> CamMaps:
        """Class maps of `images`, (B, 3, H, W) normalised."""
        features = self.backbone(images)  # (B, D, h, w)
        coarse = self.coarse_head(features)  # (B, C, h, w)
        if not self.rsa.enabled:
            return CamMaps(features, coarse, coarse)
        context = aggregate(
            features,
            self.prototypes,
            self.prototypes_valid,
            scale=self.rsa.scale,
            temperature=self.rsa.temperature,
        )  # (B, 2D, h, w)
        return CamMaps(features, coarse, self.final_head(context))


def class_head(channels: int, classes: int, depth: int, width: int) -> nn.Sequential:
    """`depth` × (3×3 convolution + ReLU), then 1×1 to the classes; weights from N(0, 0.01)."""
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
        channels = width
    layers.append(nn.Conv2d(channels, classes, 1))
    head = nn.Sequential(*layers)
    head.apply(normal_weights)
    return head
