"""Training by several processes, as `torchrun` starts them; a single one needs no other path.

Every process holds the whole state and takes an equal share of each batch. What must be common is
gathered in the order of the ranks, which is the order of the images in the batch.
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
    """Within it the processes that `torchrun` started know one another; only the first logs."""
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
        dist.barrier()  # none leaves while the first still writes
    finally:
        dist.destroy_process_group()


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """How many there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_rank_zero() -> bool:
    """Whether this is the process that writes."""
    return rank() == 0


def gather(rows: Tensor) -> Tensor:
    """The rows (R, …) of all processes, one after the other; gradients flow back to each.

    Each process may have another R. The gradient of a row is the sum over all processes.
    """
    if world_size() == 1:
        return rows
    own = torch.tensor([len(rows)], device=rows.device)
    counts = [torch.empty_like(own) for _ in range(world_size())]
    dist.all_gather(counts, own)
    return _Gather.apply(rows, [int(count) for count in counts])


def all_reduce_sum(value: Tensor) -> Tensor:
    """The sum over all processes, without gradient."""
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
    """The greatest `value` of all processes."""
    message = torch.tensor([value], device=device())
    all_reduce_max_(message)
    return int(message)


def device() -> str:
    """Where tensors must be to be sent."""
    return "cuda" if dist.is_initialized() and dist.get_backend() == "nccl" else "cpu"


class _Gather(torch.autograd.Function):
    """`all_gather` of row blocks of several lengths, padded on the way."""

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
