"""Initial weights of new layers."""

from __future__ import annotations

from torch import nn


def normal_weights(module: nn.Module) -> None:
    """Initialise a convolution as the released code and DeepLab do: N(0, 0.01), zero bias.

    A linear layer counts as a 1×1 convolution.
    """
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.normal_(module.weight, std=0.01)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
