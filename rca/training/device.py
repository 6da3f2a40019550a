"""Where the tensors live."""

from __future__ import annotations

import logging
import os

import torch

from rca.config import Compute, ConfigError

log = logging.getLogger(__name__)


def prepare(compute: Compute) -> torch.device:
    """Set the number of CPU threads and return the device; under `torchrun` this process's own.

    Raises:
        ConfigError: `cuda` is asked for and there is none.
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
