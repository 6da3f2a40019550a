"""DeepLab: a dilated backbone and one of three heads.

- `deeplab_v2`: the sum of four 3×3 convolutions of growing dilation (Chen et al., TPAMI 2018).
- `large_fov`: one wide dilated convolution, then 1×1 ones (DeepLab-v1, Chen et al., ICLR 2015).
- `deeplab_v3`: torchvision's ASPP head (Chen et al., 2017).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.segmentation.deeplabv3 import DeepLabHead

from rca.config import TrainSeg
from rca.models.backbones import build_backbone
from rca.models.initial import normal_weights

RATES_AT_STRIDE_8 = (6, 12, 18, 24)


class DeepLab(nn.Module):
    """A network that gives logits of the background and the classes, at the input's size."""

    def __init__(self, classes: int, cfg: TrainSeg) -> None:
        """Build the network for `classes` classes, not counting the background."""
        super().__init__()
        self.backbone = build_backbone(cfg.backbone)
        # Scale the rates so that the field of view in image pixels is the same at every stride.
        rates = [max(rate * 8 // cfg.backbone.stride, 1) for rate in RATES_AT_STRIDE_8]
        self.head = _head(cfg.head, self.backbone.channels, classes + 1, rates)

    def forward(self, images: Tensor) -> Tensor:
        """Compute the logits, (B, C + 1, H, W), of normalised images, (B, 3, H, W)."""
        logits = self.head(self.backbone(images))  # (B, C + 1, h, w)
        return F.interpolate(logits, images.shape[-2:], mode="bilinear", align_corners=False)


class SummedBranches(nn.ModuleList):
    """Parallel branches whose outputs are summed."""

    def forward(self, features: Tensor) -> Tensor:
        """Sum the outputs of all branches."""
        return sum(branch(features) for branch in self)


def _head(name: str, channels: int, labels: int, rates: list[int]) -> nn.Module:
    if name == "deeplab_v3":
        return DeepLabHead(channels, labels, atrous_rates=rates[1:])
    if name == "large_fov":
        head: nn.Module = nn.Sequential(
            nn.Conv2d(channels, 1024, 3, padding=rates[1], dilation=rates[1]),
            nn.ReLU(),
            nn.Dropout2d(0.5),
            nn.Conv2d(1024, 1024, 1),
            nn.ReLU(),
            nn.Dropout2d(0.5),
            nn.Conv2d(1024, labels, 1),
        )
    else:
        head = SummedBranches(
            nn.Conv2d(channels, labels, 3, padding=rate, dilation=rate) for rate in rates
        )
    head.apply(normal_weights)
    return head
