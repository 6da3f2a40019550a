"""A trained network made ready for inference: the same function, computed faster."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models.resnet import BasicBlock, Bottleneck

from rca.models.backbones import Backbone
from rca.models.device import placed

Network = TypeVar("Network", bound=nn.Module)


def for_inference(network: Network, device: torch.device) -> Network:
    """Copy a network to a device in the form in which it infers fastest.

    Batch normalisation is folded into the convolutions before it, and 1×1 convolutions run by
    oneDNN. Outputs differ from the network's by rounding. The copy cannot be trained, and its
    weights have other names; train, save and export the network itself.

    Args:
        network: The network, in evaluation mode.
        device: The device to compute on.
    """
    ready = copy.deepcopy(network)
    fold_batch_norm(ready)
    if device.type == "cpu" and torch.backends.mkldnn.is_available():
        _use_onednn(ready)
    return placed(ready.requires_grad_(False), device)


def fold_batch_norm(network: nn.Module) -> None:
    """Fold each batch normalisation, in evaluation mode, into the convolution just before it.

    Only the order in which `nn.Sequential` and torchvision's ResNet run their layers is known.
    Elsewhere, as in most of timm's networks, batch normalisation stays.
    """
    for module in list(network.modules()):
        for conv, norm in _neighbours(module):
            first, second = getattr(module, conv), getattr(module, norm)
            if isinstance(first, nn.Conv2d) and type(second) is nn.BatchNorm2d:
                setattr(module, conv, fuse_conv_bn_eval(first, second))
                setattr(module, norm, nn.Identity())


def _neighbours(module: nn.Module) -> Iterator[tuple[str, str]]:
    """List the names of pairs of layers of which the second takes the output of the first alone."""
    if isinstance(module, nn.Sequential) and not isinstance(module, Backbone):  # blocks are read
        yield from pairwise(module._modules)
    if isinstance(module, BasicBlock | Bottleneck):
        numbers = range(1, 4 if isinstance(module, Bottleneck) else 3)
        yield from ((f"conv{number}", f"bn{number}") for number in numbers)


class Pointwise(nn.Module):
    """A 1×1 convolution by oneDNN.

    On a single thread and in batches below 16, torch takes a slower path for 1×1 convolutions.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        """Take over the weights of `conv`, which has no padding."""
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias
        self.shape = ((0, 0), conv.stride, conv.dilation, conv.groups)

    def forward(self, features: Tensor) -> Tensor:
        """Compute the convolution of features, (B, D, h, w)."""
        return torch.mkldnn_convolution(features, self.weight, self.bias, *self.shape)


def _use_onednn(network: nn.Module) -> None:
    """Replace plain 1×1 convolutions by `Pointwise`."""
    for module in list(network.modules()):
        for name, conv in module.named_children():
            if type(conv) is nn.Conv2d and conv.kernel_size == (1, 1) and conv.padding == (0, 0):
                setattr(module, name, Pointwise(conv))
