"""The network as a graph of tensor operations, which ONNX and torch.export files are made from."""

from __future__ import annotations

import copy
import warnings
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from rca.inference.onnx_network import INPUT, SMALLEST
from rca.models.deeplab import DeepLab

Precision = Literal["float32", "float16"]

EXAMPLE = (2, 3, 96, 128)  # two images: PyTorch would treat a batch of one as constant


class PortableNetwork(nn.Module):
    """A DeepLab with float32 input and output, whatever the precision of its weights."""

    def __init__(self, network: DeepLab, precision: Precision) -> None:
        super().__init__()
        self.dtype = getattr(torch, precision)
        self.network = copy.deepcopy(network).cpu().to(self.dtype).eval()

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Compute the logits (B, C + 1, H, W) of `pixel_values`, (B, 3, H, W) normalised."""
        features = self.network.backbone(pixel_values.to(self.dtype))
        logits = self.network.head(features).float()  # (B, C + 1, h, w)
        size = pixel_values.shape[-2:]
        return F.interpolate(logits, size, mode="bilinear", align_corners=False)


def dynamic_shapes() -> dict[str, dict[int, Dim]]:
    """Name the dimensions of the input that may have any size."""
    return {
        INPUT: {
            0: Dim("batch", min=1),
            2: Dim("height", min=SMALLEST),
            3: Dim("width", min=SMALLEST),
        }
    }


def capture(network: DeepLab, precision: Precision = "float32") -> ExportedProgram:
    """Trace the network for a batch and images of any size.

    Args:
        network: The network, in evaluation mode.
        precision: The precision of its weights and features.
    """
    portable = PortableNetwork(network, precision)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # from PyTorch's own code
        return torch.export.export(
            portable, (torch.zeros(EXAMPLE),), dynamic_shapes=dynamic_shapes()
        )
