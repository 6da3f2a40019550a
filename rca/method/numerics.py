"""Numerics that the sections share: full precision under autocast, and unit length."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def full_precision(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Run `function` outside autocast, with its half-precision tensors widened to float32.

    Similarities are divided by 0.07 and exponentiated, features multiply prototypes over hundreds
    of channels, regions average thousands of pixels: bfloat16 is too coarse for all of this.
    """

    @functools.wraps(function)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        tensors = (value for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
        with torch.autocast(next(tensors).device.type, enabled=False):
            named = {name: _widened(value) for name, value in kwargs.items()}
            return function(*map(_widened, args), **named)

    return run


def unit(vectors: Tensor, shortest: float = 1e-6) -> Tensor:
    """Scale vectors (…, D) to length 1; those of at most `shortest` lack a direction and stay.

    `F.normalize` would send gradients of 1e12 through a region whose features are all zero.
    """
    return vectors / usable_length(vectors, shortest)


def usable_length(vectors: Tensor, shortest: float = 1e-6) -> Tensor:
    """Compute the divisor of `unit`, (…, 1): the length, or 1 where it is at most `shortest`."""
    length = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return length.where(length > shortest, torch.ones_like(length))


def _widened(value: Any) -> Any:
    if isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16):
        return value.float()
    return value
