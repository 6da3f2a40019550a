"""The device that a stage computes on."""

from __future__ import annotations

import logging
import os
from typing import TypeVar

import torch
from torch import nn

from rca.config import Compute, ConfigError

log = logging.getLogger(__name__)

Network = TypeVar("Network", bound=nn.Module)


def prepare(compute: Compute) -> torch.device:
    """Set the number of CPU threads and choose the device; under `torchrun`, the process's own GPU.

    Raises:
        ConfigError: `cuda` is asked for, but there is no CUDA device.
    """
    torch.set_num_threads(compute.threads)
    if compute.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("compute.device: cuda is asked for, but torch sees no CUDA device")
    use_cuda = compute.device == "cuda" or (compute.device == "auto" and torch.cuda.is_available())
    if use_cuda:
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        torch.cuda.set_device(device)
        log.info("on %s", torch.cuda.get_device_name())
        return device
    log.info("on the CPU with %d threads", compute.threads)
    return torch.device("cpu")


def placed(network: Network, device: torch.device) -> Network:
    """Move a network to a device, in channels-last format, where convolutions are faster."""
    # torch's annotations lack the call with both arguments, which its documentation allows.
    return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
