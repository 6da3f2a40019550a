"""Full precision for the method's arithmetic, whatever autocast does around it.

Similarities are divided by 0.07 and exponentiated, features multiply prototypes over hundreds of
channels, regions average thousands of pixels: bfloat16 resolves none of it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def full_precision(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Run `function` outside autocast, its half-precision tensors widened to float32."""

    @functools.wraps(function)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        tensors = (value for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
        with torch.autocast(next(tensors).device.type, enabled=False):
            named = {name: _widened(value) for name, value in kwargs.items()}
            return function(*map(_widened, args), **named)

    return run


def _widened(value: Any) -> Any:
    if isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16):
        return value.float()
    return value
