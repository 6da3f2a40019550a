"""One step of configs/voc12_paper.yaml and of released_code.yaml, on small images, untrained."""

from functools import partial
from pathlib import Path

import pytest
import torch

from rca.config import Compute, load
from rca.data.datasets import Example
from rca.data.index import Index, Record
from rca.training.cam_training import CamTrainer
from rca.training.optimiser import build_optimiser
from rca.training.seeds import generator

pytestmark = pytest.mark.slow  # takes a step of VGG16

SIZE = 64


def tags_of(row: torch.Tensor, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name, present in zip(names, row, strict=True) if present)


@pytest.mark.parametrize(
    ("preset", "classes", "changes"),
    [
        ("voc12_paper", 20, {}),
        ("voc12_paper", 80, {}),
        # Its 20 private heads at full width are 130 million weights.
        ("released_code", 20, {"head": {"depth": 3, "width": 8}}),
    ],
)
def test_step__loss_is_finite_and_gradients_reach_the_first_convolution(
    preset, classes, changes, tmp_path
):
    cfg = load(Path(f"configs/{preset}.yaml")).train_cam
    content = cfg.model_dump() | changes
    content["backbone"]["weights"] = "none"
    content["memory"] |= {"gate": 0.0}  # untrained, the network is sure of nothing
    cfg = type(cfg).model_validate(content)
    names = tuple(str(label) for label in range(classes))
    tags = torch.zeros(2, classes)
    tags[0, [0, 1]] = tags[1, [1, -1]] = 1
    records = [
        Record(f"{i}", "train", tmp_path, None, None, SIZE, SIZE, tags_of(tags[i], names))
        for i in range(2)
    ]
    data = Index(tmp_path, names, None, None, tuple(records))
    seeds = partial(generator, 0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        trainer = CamTrainer(cfg, Compute(device="cpu"), data, seeds, torch.device("cpu"))
    optimiser = build_optimiser(trainer.network, cfg.optimiser)
    boxes = torch.tensor([[0.0, 0, 1, 1]]).repeat(2, 1)
    pixels = torch.randn(2, 3, SIZE, SIZE, generator=seeds("pixels"))
    batch = Example(pixels, tags, torch.empty(0), torch.tensor([0, 1]), boxes)

    for epoch in (1, 2):  # L_rsc begins in epoch 2, with what epoch 1 has memorised
        losses = trainer.step(batch, epoch, share=1.0)
        optimiser.zero_grad()
        losses["loss"].backward()

    assert all(value.isfinite() for value in losses.values())
    assert losses["contrast"] > 0
    first = next(trainer.network.backbone.parameters())
    assert first.grad.isfinite().all() and first.grad.abs().sum() > 0
    # FIFO: two steps of two regions, in the last class too; slot_ema counts its noise as filled.
    filled = trainer.memory.count[[0, 1, -1]].tolist()
    assert filled == ([2, 4, 2] if cfg.memory.update == "fifo" else [500] * 3)
