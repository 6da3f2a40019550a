"""Two processes that share a batch memorise what one process does that has all of it."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from paper import memory_bank, objective_settings

from rca.method.memory import MemoryBank
from rca.method.objective import entering_regions, memorise
from rca.method.prototypes import fit_prototypes

pytestmark = pytest.mark.slow  # starts processes that load torch

B, C, D, SIZE, SLOTS, STEPS = 4, 3, 5, 4, 6, 5
SETTINGS = objective_settings(gate=0.4)


def batch(step: int) -> tuple[torch.Tensor, ...]:
    """Features, coarse and final maps, tags; some classes are not sure enough to enter."""
    draws = torch.Generator().manual_seed(step)
    features = torch.randn(B, D, SIZE, SIZE, generator=draws)
    coarse, final = torch.randn(2, B, C, SIZE, SIZE, generator=draws)
    final += 2 * torch.randn(B, C, 1, 1, generator=draws)
    return features, coarse, final, torch.rand(B, C, generator=draws) > 0.4


def prototypes_of(memory: MemoryBank) -> torch.Tensor:
    return fit_prototypes(memory.rows, memory.filled, 2, torch.Generator().manual_seed(0))[0]


def memorise_half(rank: int, port_file: str, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{port_file}", rank=rank, world_size=2)
    memory = memory_bank(C, SLOTS, D)
    for step in range(STEPS):
        half = slice(rank * B // 2, (rank + 1) * B // 2)
        entering = entering_regions(*(part[half] for part in batch(step)), SETTINGS)
        gathered: list = [None, None]
        dist.all_gather_object(gathered, entering)
        memory.enqueue(*(torch.cat(parts) for parts in zip(*gathered, strict=True)))
    torch.save(memory.state_dict() | {"q": prototypes_of(memory)}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_memory__of_two_processes_is_that_of_one(tmp_path) -> None:
    mp.spawn(memorise_half, (str(tmp_path / "port"), str(tmp_path)), nprocs=2)
    memory = memory_bank(C, SLOTS, D)
    entered = sum(len(memorise(*batch(step), memory, SETTINGS)[1]) for step in range(STEPS))
    assert entered > C * SLOTS  # it went round
    whole = memory.state_dict() | {"q": prototypes_of(memory)}
    for rank in range(2):
        state = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert state.keys() == whole.keys()
        assert all(torch.equal(state[key], whole[key]) for key in whole)
