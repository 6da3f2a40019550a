"""SGD with the field's parameter groups: new layers learn faster, biases twice as fast."""

from __future__ import annotations

from itertools import chain

import torch
from torch import nn

from rca.config import Optimiser


def build_optimiser(
    network: nn.Module, cfg: Optimiser, head: nn.Module | None = None
) -> torch.optim.SGD:
    """SGD over all trainable parameters; each group has `factor`, its multiple of the base rate.

    Args:
        network: whose `backbone` holds the old layers.
        cfg: rates and factors.
        head: one more new layer, outside of the network.
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
    """The base learning rate at `epoch`, which may be a fraction of the way through one."""
    if cfg.schedule == "poly":
        return cfg.lr * (1 - epoch / epochs) ** cfg.power
    return cfg.lr * 0.1 ** sum(epoch >= milestone for milestone in cfg.milestones)


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Give each group its multiple of the base rate."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group["factor"]
