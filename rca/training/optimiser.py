"""SGD with the field's parameter groups: new layers learn faster, and biases twice as fast."""

from __future__ import annotations

from itertools import chain

import torch
from torch import nn

from rca.config import Optimiser


def build_optimiser(
    network: nn.Module, cfg: Optimiser, head: nn.Module | None = None
) -> torch.optim.SGD:
    """Build SGD over all trainable parameters.

    Each parameter group has a `factor`, by which the base learning rate is multiplied.

    Args:
        network: The network, whose `backbone` holds the pretrained layers.
        cfg: The learning rates and their factors.
        head: A further new layer, outside the network, or None.
    """
    groups: dict[float, list[nn.Parameter]] = {}
    outside = head.named_parameters() if head is not None else ()
    for name, parameter in chain(network.named_parameters(), outside):
        if parameter.requires_grad:
            factor = 1.0 if name.startswith("backbone.") else cfg.head_lr_factor
            if name.endswith("bias"):
                factor *= cfg.bias_lr_factor
            groups.setdefault(factor, []).append(parameter)
    return torch.optim.SGD(
        [{"params": parameters, "factor": factor} for factor, parameters in groups.items()],
        lr=cfg.lr,
        momentum=cfg.momentum,
        weight_decay=cfg.weight_decay,
        nesterov=cfg.momentum > 0,
    )


def base_rate(cfg: Optimiser, epoch: float, epochs: int) -> float:
    """Compute the base learning rate at `epoch`, whose fractional part counts too."""
    if cfg.schedule == "poly":
        return cfg.lr * (1 - epoch / epochs) ** cfg.power
    return cfg.lr * 0.1 ** sum(epoch >= milestone for milestone in cfg.milestones)


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set each group's learning rate to its multiple of the base rate."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group["factor"]
