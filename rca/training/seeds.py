"""Seeds: one number from the user gives an independent random stream for each purpose."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derive_seed(seed: int, *purpose: str | int) -> int:
    """Derive a 63-bit seed from `seed` and the purpose."""
    text = ":".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *purpose: str | int) -> torch.Generator:
    """Make the CPU generator for a purpose, independent of those for all others."""
    return torch.Generator().manual_seed(derive_seed(seed, *purpose))


@contextmanager
def global_seed(seed: int, device: torch.device) -> Iterator[torch.Generator]:
    """Seed torch's global state, for initial weights and dropout; restore the old one afterwards.

    Yields:
        The generator that dropout draws from on `device`.
    """
    cuda = device.type == "cuda"
    with torch.random.fork_rng([device] if cuda else []):
        torch.manual_seed(seed)
        yield torch.cuda.default_generators[device.index] if cuda else torch.default_generator
