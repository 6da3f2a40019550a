"""At COCO's size: a step has no operation per class or image, and makes no second memory."""

from __future__ import annotations

import pytest
import torch
from paper import aggregate, memory_bank, objective_settings
from torch.utils._python_dispatch import TorchDispatchMode

from rca.method.memory import MemoryBank
from rca.method.objective import memorise, rca_losses

SETTINGS = objective_settings(gate=0.0)


class Operations(TorchDispatchMode):
    """Counts operations, and notes the bytes of the largest tensor that one of them made."""

    def __init__(self, known: torch.Tensor) -> None:
        super().__init__()
        self.count, self.largest = 0, 0
        self.known = known.untyped_storage().data_ptr()  # views of it are no new tensors

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for made in result if isinstance(result, tuple | list) else [result]:
            is_tensor = isinstance(made, torch.Tensor)
            if is_tensor and made.untyped_storage().data_ptr() != self.known:
                self.largest = max(self.largest, made.untyped_storage().nbytes())
        self.count += 1
        return result


def filled_memory(classes: int, slots: int, channels: int) -> MemoryBank:
    memory = memory_bank(classes, slots, channels)
    labels = torch.arange(classes).repeat_interleave(slots)
    draws = torch.Generator().manual_seed(0)
    memory.enqueue(torch.randn(len(labels), channels, generator=draws), labels)
    return memory


def a_step(classes: int, images: int, slots: int = 300, channels: int = 16) -> Operations:
    """The method's part of a training step, forward and backward."""
    memory = filled_memory(classes, slots, channels)
    draws = torch.Generator().manual_seed(1)
    features = torch.randn(images, channels, 6, 6, generator=draws, requires_grad=True)
    coarse, final = torch.randn(2, images, classes, 6, 6, generator=draws)
    tags = torch.rand(images, classes, generator=draws) < 0.3
    tags[:, -1] = True
    prototypes = memory.rows[:, :2].clone()
    with Operations(memory.rows) as operations:
        context = aggregate(features, prototypes, torch.ones(classes, 2, dtype=torch.bool))
        losses = rca_losses(features, coarse, final, tags, memory, SETTINGS, 2, draws)
        (losses["loss"] + context.sum()).backward()
        memorise(features, coarse, final, tags, memory, SETTINGS)
    assert losses["loss"].isfinite() and features.grad.isfinite().all()
    assert losses["contrast"] > 0
    return operations


def test_step__as_many_operations_for_80_classes_and_8_images_as_for_2() -> None:
    assert a_step(80, 8).count == a_step(2, 8).count == a_step(80, 2).count


@pytest.mark.parametrize("classes", [20, 80])
def test_step__makes_no_tensor_as_large_as_the_memory(classes: int) -> None:
    slots, channels = 500, 512
    bank = 4 * classes * slots * channels
    assert a_step(classes, 2, slots, channels).largest < bank / 5
