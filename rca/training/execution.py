"""How a training runs: its number of processes, its compilation and its numerical precision."""

from __future__ import annotations

from typing import cast

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from rca.config import Compute
from rca.training.distributed import world_size


def execution_settings(compute: Compute, device: torch.device) -> dict[str, str | int | bool]:
    """Collect the settings of a run that change a training's exact result, but not its method."""
    return {
        "device": device.type,
        "threads": compute.threads,
        "precision": compute.precision,
        "compile": compute.compile,
        "world_size": world_size(),
    }


def wrap_module(
    network: nn.Module,
    compute: Compute,
    device: torch.device,
    find_unused_parameters: bool = False,
) -> nn.Module:
    """Wrap a network in DistributedDataParallel and torch.compile, as the settings ask.

    The wrapper shares the parameters of `network`; save `network`, not the wrapper.

    Args:
        network: The network, on `device`.
        compute: Whether to compile.
        device: The device of this process.
        find_unused_parameters: Whether some parameters get no gradient in some steps; passed on to
            DistributedDataParallel. The search for them costs time.
    """
    module: nn.Module = network
    if world_size() > 1:
        if device.type == "cuda":  # torch supports SyncBatchNorm on CUDA only
            _synchronise_batch_norm(network)
        module = DistributedDataParallel(
            network,
            [device.index] if device.type == "cuda" else None,
            find_unused_parameters=find_unused_parameters,
        )
    # torch.compile turns a module into a module, but its annotation promises only a callable.
    return cast(nn.Module, torch.compile(module)) if compute.compile else module


def autocast(compute: Compute, device: torch.device) -> torch.autocast:
    """Make the context for the network's forward pass; losses are computed outside of it."""
    return torch.autocast(
        device.type, getattr(torch, compute.precision), enabled=compute.precision != "float32"
    )


def grad_scaler(compute: Compute, device: torch.device) -> torch.amp.GradScaler:
    """Make the scaler that prevents underflow of float16 gradients; off for other precisions."""
    return torch.amp.GradScaler(device.type, enabled=compute.precision == "float16")


def _synchronise_batch_norm(network: nn.Module) -> None:
    """Make new layers normalise over the whole batch; the backbone's statistics are fixed."""
    for name, child in network.named_children():
        if name != "backbone":
            setattr(network, name, nn.SyncBatchNorm.convert_sync_batchnorm(child))
