"""The cost of RSC and RSA, each measured in turns with what it is compared with.

    python -m benchmarks.method_cost --batch 2 --repeats 3
    python -m benchmarks.method_cost --repeats 3 --only-own    adds part 2 to the record

1. A training step (forward, backward, update) of the plain classifier and one of RCA, at the
   paper's sizes: VGG16, 368 × 368, stride 8, with a full memory and prototypes. Most of what RCA
   adds is its second head, three convolutions on 2D channels, twice the D of the features. So
   `two_heads`, the classifier with that head on features and zeros, is measured too: what RCA adds
   to it is RSC and RSA themselves.
2. The same with the preset voc12, at 20 and at 80 classes. Its heads are single 1×1 convolutions.
3. RSC alone, forward and backward: batched, and by the loop of the supplement's Algorithm 1 over
   images and classes, one query at a time against the memory, which is normalised once per step;
   with the numbers of classes of VOC and of COCO.

CPU time is the process's own, so that other work on the machine counts little. The ratios are of
medians over the turns.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from rca.config import load
from rca.method.contrast import region_contrast
from rca.method.memory import MemoryBank
from rca.method.mixup import mix_regions
from rca.method.objective import memorise, rca_losses, region_masks
from rca.method.prototypes import random_prototypes
from rca.models.cam_network import CamNetwork
from rca.runtime.files import write_json
from rca.training.cam_training import objective_settings
from rca.training.optimiser import build_optimiser
from tools.records import origin

RECORD = Path("benchmarks/results/method_cost.json")
PRESET = Path("configs/voc12_paper.yaml")
OWN = Path("configs/voc12.yaml")


def in_turns(actions: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Measure each action's median CPU seconds, in turns, `repeats` times after a warm-up."""
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for turn in range(repeats + 1):
        for name, action in actions.items():
            begun = time.process_time()
            action()
            if turn:
                seconds[name].append(time.process_time() - begun)
    return {name: median(values) for name, values in seconds.items()}


def full_memory(classes: int, slots: int, channels: int) -> MemoryBank:
    """Fill every slot of a memory with random regions, not negative, like features after a ReLU."""
    memory = MemoryBank(classes, slots, channels, "fifo", momentum=0.0)
    draws = torch.Generator().manual_seed(0)
    for label in range(classes):
        rows = torch.randn(slots, channels, generator=draws).relu()
        memory.enqueue(rows, torch.full((slots,), label))
    return memory


def without_context(network: CamNetwork) -> None:
    """Have the final head see zeros, as many as the context of the features has channels.

    The network stays as it is, except for the one step that is not to be measured.
    """

    def refined(features: Tensor) -> Tensor:
        return network.final_head(torch.cat([features, features * 0], dim=1))

    network._refined = refined  # type: ignore[method-assign]


def training_step(
    preset: Path, classes: int, batch: int, size: int, changes: dict, context: bool = True
) -> Callable[[], None]:
    """Set up a step of a preset with `changes`, on random images with two tags each.

    Without `context`, the final head sees features and zeros.
    """
    cfg = load(preset).train_cam
    content = cfg.model_dump()
    content["backbone"]["weights"] = "none"
    for section, values in changes.items():
        content[section] |= values
    cfg = type(cfg).model_validate(content)
    network = CamNetwork(classes, cfg).train().to(memory_format=torch.channels_last)
    memory = full_memory(classes, cfg.memory.slots, network.backbone.channels)
    draws = torch.Generator().manual_seed(0)
    if cfg.rsa.enabled:
        rows = random_prototypes(memory.rows, memory.filled, cfg.rsa.prototypes, draws, "rows")
        network.prototypes.copy_(rows[0])
        network.prototypes_valid.copy_(rows[1])
    if not context:
        without_context(network)
    optimiser = build_optimiser(network, cfg.optimiser)
    images = torch.randn(batch, 3, size, size, generator=draws)
    images = images.to(memory_format=torch.channels_last)
    tags = F.one_hot(torch.rand(batch, classes, generator=draws).topk(2).indices, classes).amax(1)
    objective = objective_settings(cfg)

    def step() -> None:
        maps = network(images)
        remembering = cfg.rsc.enabled or (cfg.rsa.enabled and context)
        masks = region_masks(maps.coarse, tags, objective) if remembering else None
        parts = (maps.coarse, maps.final, tags, memory, objective)
        loss = rca_losses(maps.queries, *parts, epoch=2, generator=draws, masks=masks)["loss"]
        if remembering:
            memorise(maps.features, *parts, masks=masks)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

    return step


def batched_contrast(
    embeddings: Tensor, labels: Tensor, memory: MemoryBank
) -> tuple[Tensor, Tensor]:
    """Compute the loss and gradient of the regions by `region_contrast`."""
    leaf = embeddings.clone().requires_grad_()
    draws = torch.Generator().manual_seed(0)
    rsc = load(PRESET).train_cam.rsc
    loss = region_contrast(
        leaf,
        labels,
        memory.rows,
        memory.filled,
        temperature=rsc.temperature,
        beta=rsc.beta,
        generator=draws,
        partner=rsc.partner,
        form=rsc.form,
    )
    (gradient,) = torch.autograd.grad(loss, leaf)
    return loss.detach(), gradient


def looped_contrast(
    embeddings: Tensor, labels: Tensor, memory: MemoryBank
) -> tuple[Tensor, Tensor]:
    """Compute the same by Algorithm 1's loop over the regions, with the equations' mathematics.

    For each region and term, the memory is split into positives and negatives, as in the
    pseudo-code.
    """
    leaf = embeddings.clone().requires_grad_()
    draws = torch.Generator().manual_seed(0)
    rsc = load(PRESET).train_cam.rsc
    mixed, foreign, omega = mix_regions(
        leaf, labels, beta=rsc.beta, generator=draws, partner=rsc.partner
    )
    rows = F.normalize(memory.rows, dim=-1)
    losses = []
    for query, own, other, share in zip(mixed, labels, foreign, omega, strict=True):
        terms = []
        for label in (own, other):
            positives = rows[label] @ query / rsc.temperature
            rest = torch.cat([rows[:label], rows[label + 1 :]]).flatten(0, 1)
            negatives = (rest @ query / rsc.temperature).logsumexp(dim=0)
            terms.append(F.softplus(negatives - positives).mean())
        losses.append(share * terms[0] + (1 - share) * terms[1])
    loss = torch.stack(losses).mean()
    (gradient,) = torch.autograd.grad(loss, leaf)
    return loss.detach(), gradient


def contrast_cost(classes: int, tags: int, repeats: int) -> dict[str, Any]:
    """Measure RSC on a batch of 8 images with `tags` tags each, batched and looped.

    Raises:
        AssertionError: The two disagree.
    """
    memory = full_memory(classes, 500, 512)
    draws = torch.Generator().manual_seed(1)
    labels = torch.rand(8, classes, generator=draws).topk(tags).indices.flatten()
    embeddings = torch.randn(len(labels), 512, generator=draws).relu()
    ways = {"batched": batched_contrast, "loop": looped_contrast}
    results = [way(embeddings, labels, memory) for way in ways.values()]
    torch.testing.assert_close(*results, rtol=1e-3, atol=1e-5)
    seconds = in_turns(
        {name: partial(way, embeddings, labels, memory) for name, way in ways.items()}, repeats
    )
    return {
        "classes": classes,
        "regions": len(labels),
        "memory": [classes, 500, 512],
        "seconds": seconds,
        "loop_over_batched": round(seconds["loop"] / seconds["batched"], 1),
    }


def step_cost(preset: Path, classes: int, batch: int, size: int, repeats: int) -> dict[str, Any]:
    """Measure a step of the plain classifier, with RSC, with the second head, and of RCA."""
    backbone = load(preset).train_cam.backbone
    arguments = (preset, classes, batch, size)
    rsc, rsa = ({name: {"enabled": True}} for name in ("rsc", "rsa"))  # whatever the preset has
    no_rsc, no_rsa = ({name: {"enabled": False}} for name in ("rsc", "rsa"))
    steps = {
        "classifier": training_step(*arguments, no_rsc | no_rsa),
        "classifier_and_rsc": training_step(*arguments, rsc | no_rsa),
        "two_heads": training_step(*arguments, no_rsc | rsa, context=False),
        "rca": training_step(*arguments, rsc | rsa),
    }
    seconds = in_turns(steps, repeats)
    return {
        "network": f"{backbone.name}, stride {backbone.stride}, {size} × {size}, batch {batch}, "
        f"{classes} classes",
        "seconds": seconds,
        "rsc_over_classifier": _ratio(seconds, "classifier_and_rsc", "classifier"),
        "rca_over_two_heads": _ratio(seconds, "rca", "two_heads"),
        "rca_over_classifier": _ratio(seconds, "rca", "classifier"),
    }


def _ratio(seconds: dict[str, float], above: str, below: str) -> float:
    return round(seconds[above] / seconds[below], 3)


def main() -> None:
    """Measure and write the record."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--batch", type=int, default=8, help="images a training step (paper: 8)")
    options.add_argument("--size", type=int, default=368, help="side of the input (paper: 368)")
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--only-own", action="store_true", help="only the preset voc12")
    options.add_argument("--out", type=Path, default=RECORD)
    asked = options.parse_args()
    torch.set_num_threads(asked.threads)
    own_size = load(OWN).train_cam.view.size
    own = [step_cost(OWN, n, asked.batch, own_size, asked.repeats) for n in (20, 80)]
    if asked.only_own:
        record = json.loads(asked.out.read_text())
        write_json(asked.out, {**record, "own_preset": {**origin(), "training_steps": own}})
        print(own)
        return
    record = {
        "protocol": "CPU seconds of the process, medians over turns taken one after the other, "
        "after a warm-up each",
        "threads": asked.threads,
        "cores": os.cpu_count(),
        "repeats": asked.repeats,
        **origin(),
        "contrast": [contrast_cost(20, 2, asked.repeats), contrast_cost(80, 3, asked.repeats)],
        "training_step": step_cost(PRESET, 20, asked.batch, asked.size, asked.repeats),
        "own_preset": {**origin(), "training_steps": own},
    }
    write_json(asked.out, record)
    print(record["contrast"], record["training_step"], sep="\n")


if __name__ == "__main__":
    main()
