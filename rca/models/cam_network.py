"""The classification network whose class activation maps RCA sharpens (Eqs. 1, 9 and 10)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rca.config import Aggregation, Contrast, Head, TrainCam
from rca.method.aggregation import ParametricAggregation, aggregate, linear_maps
from rca.models.backbones import build_backbone
from rca.models.initial import normal_weights


@dataclass(frozen=True)
class CamMaps:
    """The network's output for B images.

    Attributes:
        features: F, the features, (B, D, h, w).
        coarse: C, the class maps of the features alone, (B, C, h, w).
        final: O, the class maps of features and aggregated context, (B, C, h, w); C without RSA.
        queries: The features that RSC pools its queries from, (B, D, h, w): F, or the output of
            the query head where it was asked for.
    """

    features: Tensor
    coarse: Tensor
    final: Tensor
    queries: Tensor

    def float(self) -> CamMaps:
        """Convert the maps to float32, for losses after a forward pass in half precision."""
        return CamMaps(
            features=self.features.float(),
            coarse=self.coarse.float(),
            final=self.final.float(),
            queries=self.queries.float(),
        )


class CamNetwork(nn.Module):
    """A backbone, the coarse head and, with RSA, the prototypes and the final head.

    The prototypes are buffers: they are saved with the weights, so that inference needs no labels
    (Alg. 3).
    """

    prototypes: Tensor
    prototypes_valid: Tensor

    def __init__(self, classes: int, cfg: TrainCam) -> None:
        super().__init__()
        self.backbone = build_backbone(cfg.backbone)
        channels = self.backbone.channels
        self.rsa = cfg.rsa
        self.coarse_head = class_head(channels, classes, cfg.head.depth, cfg.head.width)
        if cfg.rsa.enabled:
            self.final_head = final_head(channels, classes, cfg.head, cfg.rsa)
            shape = (classes + cfg.rsa.background, cfg.rsa.prototypes)  # the background comes last
            self.register_buffer("prototypes", torch.zeros(*shape, channels))
            self.register_buffer("prototypes_valid", torch.zeros(shape, dtype=torch.bool))
        if cfg.rsa.enabled and cfg.rsa.attention == "parametric":
            self.aggregation = ParametricAggregation(channels)
            self.aggregation.apply(normal_weights)
        has_query_head = cfg.rsc.enabled and cfg.rsc.query == "head"
        self.query_head = query_head(channels) if has_query_head else None

    def forward(self, images: Tensor, querying: bool = False) -> CamMaps:
        """Compute the class maps of normalised images.

        Args:
            images: The normalised images, (B, 3, H, W).
            querying: Whether to run the query head, if there is one. A head that runs must take
                part in the loss, since with several processes each waits for its gradients.
        """
        features = self.backbone(images)  # (B, D, h, w)
        coarse = self.coarse_head(features)  # (B, C, h, w)
        final = self._refined(features) if self.rsa.enabled else coarse
        queries = features
        if querying and self.query_head is not None:
            queries = self.query_head(features)
        return CamMaps(features, coarse, final, queries)

    def final_maps(self, images: Tensor) -> Tensor:
        """Compute O alone, (B, C, h, w), as inference needs it: with RSA, C is not computed."""
        features = self.backbone(images)
        return self._refined(features) if self.rsa.enabled else self.coarse_head(features)

    def _refined(self, features: Tensor) -> Tensor:
        """Compute O from the features and the context that the prototypes give them."""
        parts = (features, self.prototypes, self.prototypes_valid)
        if self.rsa.attention == "parametric":
            return self.final_head(self.aggregation(*parts))
        how = (self.rsa.scale, self.rsa.temperature, self.rsa.null_prototype)
        if len(self.final_head) == 1:
            weight, bias = self.final_head[0].parameters()
            return linear_maps(*parts, *how, weight=weight, bias=bias)
        return self.final_head(aggregate(*parts, *how))


def class_head(channels: int, classes: int, depth: int, width: int) -> nn.Sequential:
    """Build `depth` 3×3 convolutions, each with a ReLU, and a 1×1 convolution to the classes.

    Weights are drawn from N(0, 0.01).
    """
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
        channels = width
    return _initialised(*layers, nn.Conv2d(channels, classes, 1))


def final_head(channels: int, classes: int, head: Head, rsa: Aggregation) -> nn.Sequential:
    """Build F_CAM' of Eq. 10, from 2D = 2 × `channels` to the classes.

    `per_class` heads, as in the released code, are groups of the same convolutions: each class has
    filters of its own.
    """
    if rsa.heads == "shared":
        return class_head(2 * channels, classes, head.depth, head.width)
    layers: list[nn.Module] = [nn.Conv2d(2 * channels, channels, 1)]
    groups = 1  # the first convolution of each class sees all channels
    for _ in range(head.depth):
        layers += [
            nn.Conv2d(channels, classes * head.width, 3, padding=1, groups=groups),
            nn.ReLU(),
        ]
        channels, groups = classes * head.width, classes
    return _initialised(*layers, nn.Conv2d(channels, classes, 1, groups=groups))


def query_head(channels: int) -> nn.Sequential:
    """Build the released code's query head: 3×3 convolution, batch norm, ReLU, 3×3 convolution."""
    return _initialised(
        nn.Conv2d(channels, channels, 3, padding=1),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.Conv2d(channels, channels, 3, padding=1),
    )


def projection_head(channels: int, rsc: Contrast) -> nn.Module | None:
    """Build the projection of regions for the contrast, (R, D) → (R, `projection_width`), or None.

    It is not part of the network, since only the contrast needs it. It keeps torch's initial
    weights: two layers from N(0, 0.01) would leave little but the biases.
    """
    if rsc.projection == "none":
        return None
    first, width = nn.Linear(channels, rsc.projection_width), rsc.projection_width
    if rsc.projection == "linear":
        return first
    return nn.Sequential(first, nn.ReLU(), nn.Linear(width, width))


def _initialised(*layers: nn.Module) -> nn.Sequential:
    head = nn.Sequential(*layers)
    head.apply(normal_weights)
    return head
