"""Training in several processes, as `torchrun` starts them; all functions work in a single one too.

Every process holds the whole state and takes an equal share of each batch. What all processes must
share is gathered in the order of the ranks, which is the order of the images in the batch.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


@contextmanager
def session(device: torch.device) -> Iterator[None]:
    """Connect the processes that `torchrun` started, in the `with` block; only rank 0 logs."""
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield
        return
    if device.type == "cuda":
        dist.init_process_group("nccl", device_id=device)
    else:
        dist.init_process_group("gloo")
    if not is_rank_zero():
        logging.getLogger("rca").setLevel(logging.WARNING)
    try:
        yield
        dist.barrier()  # no process leaves while rank 0 is still writing
    finally:
        dist.destroy_process_group()


def rank() -> int:
    """Return the rank of this process; 0 if it is the only one."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_rank_zero() -> bool:
    """Check whether this is the process of rank 0, which writes all files."""
    return rank() == 0


def gather(rows: Tensor) -> Tensor:
    """Concatenate the rows, (R, …), of all processes in the order of their ranks.

    R may differ between processes. Gradients flow back to each process; the gradient of a row is
    the sum over all processes.
    """
    if world_size() == 1:
        return rows
    own = torch.tensor([len(rows)], device=rows.device)
    counts = [torch.empty_like(own) for _ in range(world_size())]
    dist.all_gather(counts, own)
    return _Gather.apply(rows, [int(count) for count in counts])


def all_reduce_sum(value: Tensor) -> Tensor:
    """Sum a tensor over all processes, without gradients."""
    if world_size() == 1:
        return value
    value = value.detach().clone()
    dist.all_reduce(value)
    return value


def all_reduce_max_(value: Tensor) -> None:
    """Replace `value` by the elementwise maximum over all processes."""
    if world_size() > 1:
        number = value.to(torch.uint8) if value.dtype == torch.bool else value
        dist.all_reduce(number, dist.ReduceOp.MAX)
        value.copy_(number)


def greatest_of_all(value: int) -> int:
    """Return the greatest `value` among all processes."""
    message = torch.tensor([value], device=device())
    all_reduce_max_(message)
    return int(message)


def device() -> str:
    """Return the type of device that tensors must be on to be sent."""
    return "cuda" if dist.is_initialized() and dist.get_backend() == "nccl" else "cpu"


class _Gather(torch.autograd.Function):
    """`all_gather` for blocks of different numbers of rows, which are padded for the transfer."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, counts: list[int]) -> Tensor:
        ctx.counts = counts
        padded = rows.new_zeros(max(counts), *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        return gradient.split(ctx.counts)[dist.get_rank()], None
