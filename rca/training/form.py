"""The form in which a network is trained: on how many processes, compiled or not, how precisely."""

from __future__ import annotations

from typing import cast

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from rca.config import Compute
from rca.training.distributed import processes


def traits(compute: Compute, device: torch.device) -> dict[str, str | int | bool]:
    """What of the machinery shows in a training's bytes."""
    return {
        "device": device.type,
        "threads": compute.threads,
        "precision": compute.precision,
        "compile": compute.compile,
        "processes": processes(),
    }


def training_form(
    network: nn.Module, compute: Compute, device: torch.device, late: bool = False
) -> nn.Module:
    """`network`, on `device`, as training calls it: on several processes, compiled, as asked.

    Its parameters stay those of `network`, which is what to save. `late` says that some of them may
    rest in a step; looking for these costs time.
    """
    form: nn.Module = network
    if processes() > 1:
        if device.type == "cuda":  # torch has it for CUDA alone
            _share_statistics(network)
        form = DistributedDataParallel(
            network,
            [device.index] if device.type == "cuda" else None,
            find_unused_parameters=late,
        )
    # Of a module, torch.compile makes a module; its annotation says only that it can be called.
    return cast(nn.Module, torch.compile(form)) if compute.compile else form


def autocast(compute: Compute, device: torch.device) -> torch.autocast:
    """The context for the network's forward pass; losses are computed outside of it."""
    return torch.autocast(
        device.type, getattr(torch, compute.precision), enabled=compute.precision != "float32"
    )


def loss_scaler(compute: Compute, device: torch.device) -> torch.amp.GradScaler:
    """Keeps float16's gradients from vanishing; does nothing for the other precisions."""
    return torch.amp.GradScaler(device.type, enabled=compute.precision == "float16")


def _share_statistics(network: nn.Module) -> None:
    """Let new layers normalise by the whole batch; the backbone's statistics are fixed."""
    for name, child in network.named_children():
        if name != "backbone":
            setattr(network, name, nn.SyncBatchNorm.convert_sync_batchnorm(child))
