"""Training steps of the paper's preset, as stage `train_cam` makes them, for `benchmarks.gpu`."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from benchmarks.method_cost import full_memory, without_context
from rca.config import Compute, TrainCam, load
from rca.data.datasets import Example
from rca.data.index import Index, Record
from rca.data.palette import voc_palette
from rca.method.prototypes import random_prototypes
from rca.training.cam_training import CamTrainer, refit_prototypes
from rca.training.optimiser import build_optimiser
from rca.training.seeds import generator, global_seed

PRESET = Path("configs/voc12_paper.yaml")
EPOCH = 2  # from here on the paper's contrast takes part
PLAIN: dict[str, dict[str, Any]] = {"rsc": {"enabled": False}, "rsa": {"enabled": False}}


@dataclass(frozen=True)
class Size:
    """The sizes of what is measured.

    Attributes:
        side: The side of the square input, in pixels.
        batches: The numbers of images in a step.
        classes: The number of classes of the data set.
        slots: The number of the memory's slots for each class.
        width: The width of the heads' convolutions; None leaves the preset's.
        repeats: The number of timed steps, after half as many untimed ones.
    """

    side: int = 368
    batches: tuple[int, int] = (8, 16)
    classes: int = 20
    slots: int = 500
    width: int | None = None
    repeats: int = 10


QUICK = Size(side=32, batches=(1, 2), classes=3, slots=4, width=8, repeats=2)


def synchronise(device: torch.device) -> None:
    """Wait until the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(action: Callable[[], object], device: torch.device, repeats: int) -> dict[str, Any]:
    """Measure the median seconds of `action`, and the peak GPU memory in GB (None on a CPU)."""
    for _ in range(max(repeats // 2, 1)):
        action()
    synchronise(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        action()
        synchronise(device)
        seconds.append(time.perf_counter() - began)
    peak = torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else None
    return {"seconds": statistics.median(seconds), "peak_gb": peak and round(peak, 2)}


def preset(size: Size, changes: dict[str, dict[str, Any]]) -> TrainCam:
    """Load section `train_cam` of the paper's preset, with random weights and `changes`."""
    content = load(PRESET).train_cam.model_dump()
    content["backbone"]["weights"] = "none"
    content["memory"]["slots"] = size.slots
    content["head"]["width"] = size.width or content["head"]["width"]
    for section, values in changes.items():
        content[section] |= values
    return TrainCam.model_validate(content)


@dataclass
class Training:
    """A training that is under way: its memory is full, and it has prototypes."""

    trainer: CamTrainer
    step: Callable[[], Tensor]


def training(
    size: Size,
    batch: int,
    device: torch.device,
    compute: Compute,
    changes: dict[str, dict[str, Any]] | None = None,
    wrap: Callable[[nn.Module], nn.Module] | None = None,
) -> Training:
    """Set up a step on random images with two tags each, by the trainer of stage `train_cam`.

    Args:
        size: The sizes of the images, the memory and the heads.
        batch: The number of images.
        device: The device that computes the step.
        compute: The precision, and whether to compile.
        changes: The changes to section `train_cam`, by its subsections.
        wrap: A function from the network to the module that is called in its place.
    """
    cfg = preset(size, changes or {})
    names = tuple(f"class{number}" for number in range(size.classes))
    draws = torch.Generator().manual_seed(0)
    tags = torch.zeros(batch, size.classes)
    tags.scatter_(1, torch.rand(batch, size.classes, generator=draws).topk(2).indices, 1)
    records = tuple(
        Record(
            f"image{number}", "train", Path(), None, None, size.side, size.side,
            tuple(name for name, there in zip(names, row, strict=True) if there),
        )
        for number, row in enumerate(tags)
    )  # fmt: skip
    values = torch.arange(256).numpy().astype("uint8")
    data = Index(Path(), names, values, voc_palette(), records)
    seeds = partial(generator, 0)
    with global_seed(0, device):
        trainer = CamTrainer(cfg, compute, data, seeds, device)
    full = full_memory(size.classes, size.slots, trainer.network.backbone.channels)
    trainer.memory.load_state_dict(full.state_dict())
    if cfg.rsa.enabled:
        rows = random_prototypes(full.rows, full.filled, cfg.rsa.prototypes, draws, "rows")
        trainer.network.prototypes.copy_(rows[0])
        trainer.network.prototypes_valid.copy_(rows[1])
    trainer.mixup.manual_seed(0)
    if wrap:
        trainer.module = wrap(trainer.network)
    optimiser = build_optimiser(trainer.network, cfg.optimiser)
    pixels = torch.randn(batch, 3, size.side, size.side, generator=draws)
    boxes = torch.tensor([[0.0, 0, 1, 1]]).repeat(batch, 1)
    example = Example(pixels.to(device), tags, torch.empty(0), torch.arange(batch), boxes)

    def step() -> Tensor:
        losses = trainer.step(example, EPOCH, 1.0)
        losses["loss"].backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        return losses["loss"].detach()

    return Training(trainer, step)


def steps(size: Size, device: torch.device) -> dict[str, Any]:
    """Measure both batch sizes in both precisions."""
    return {
        f"batch {batch}, {precision}": _step(size, batch, device, precision)
        for batch in size.batches
        for precision in ("float32", "bfloat16")
    }


def compiled(size: Size, device: torch.device) -> dict[str, Any]:
    """Measure the smaller batch, compiled, in both precisions."""
    batch = size.batches[0]
    return {
        f"batch {batch}, {precision}": _step(size, batch, device, precision, compile=True)
        for precision in ("bfloat16", "float32")
    }


def _step(
    size: Size, batch: int, device: torch.device, precision: str, **compute: bool
) -> dict[str, Any]:
    form = Compute.model_validate({"precision": precision, **compute})
    measured = timed(training(size, batch, device, form).step, device, size.repeats)
    return {**measured, "images_per_second": round(batch / measured["seconds"], 2)}


def method(size: Size, device: torch.device) -> dict[str, Any]:
    """Time a step of the plain classifier, with RSC, with the second head, and of RCA."""
    no_contrast, no_aggregation = {"rsc": PLAIN["rsc"]}, {"rsa": PLAIN["rsa"]}
    batch, compute = size.batches[0], Compute()
    seconds = {}
    for name, changes in {
        "classifier": PLAIN, "classifier_and_rsc": no_aggregation,
        "two_heads": no_contrast, "rca": {},
    }.items():  # fmt: skip
        run = training(size, batch, device, compute, changes)
        if name == "two_heads":  # without the context, all that RSA adds to two heads
            without_context(run.trainer.network)
        seconds[name] = timed(run.step, device, size.repeats)["seconds"]
    return {
        "seconds": seconds,
        "rca_over_classifier": round(seconds["rca"] / seconds["classifier"], 3),
        "rca_over_two_heads": round(seconds["rca"] / seconds["two_heads"], 3),
    }


def prototypes(size: Size, device: torch.device) -> dict[str, Any]:
    """Measure the K-means at the start of an epoch."""
    run = training(size, size.batches[0], device, Compute())
    cfg, seeds = preset(size, {}), partial(generator, 0)

    def fit() -> None:
        run.trainer.network.prototypes_valid.fill_(False)  # or it would start from its own result
        refit_prototypes(run.trainer.network, run.trainer.memory, cfg, EPOCH, seeds)

    return timed(fit, device, size.repeats)


def determinism(size: Size, device: torch.device) -> dict[str, Any]:
    """Measure a step with deterministic algorithms on and off, and whether its bytes repeat."""
    found = {}
    for name, wanted in (("off", False), ("on", True)):
        with _deterministic(wanted):
            ends = [_weights_after(3, size, device) for _ in range(2)]
            run = training(size, size.batches[0], device, Compute())
            found[name] = {
                **timed(run.step, device, size.repeats),
                "same_bytes": all(torch.equal(*pair) for pair in zip(*ends, strict=True)),
            }
    return {**found, "on_over_off": round(found["on"]["seconds"] / found["off"]["seconds"], 3)}


@contextmanager
def _deterministic(wanted: bool) -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(wanted, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def _weights_after(count: int, size: Size, device: torch.device) -> list[Tensor]:
    run = training(size, size.batches[0], device, Compute())
    for _ in range(count):
        run.step()
    return [value.detach().cpu() for value in run.trainer.network.parameters()]


def one_process(size: Size, device: torch.device) -> dict[str, Any]:
    """Measure NCCL (gloo on a CPU) with one process: a gradient-sized all-reduce and a DDP step."""
    backend = "nccl" if device.type == "cuda" else "gloo"
    with tempfile.TemporaryDirectory() as folder:
        meeting = f"file://{folder}/meeting"
        dist.init_process_group(backend, init_method=meeting, rank=0, world_size=1)
        try:
            on = [device.index] if device.type == "cuda" else None
            wrap = partial(DistributedDataParallel, device_ids=on)
            run = training(size, size.batches[0], device, Compute(), wrap=wrap)
            count = sum(value.numel() for value in run.trainer.network.parameters())
            values = torch.ones(count, device=device)
            return {
                "backend": backend,
                "all_reduce": {
                    "megabytes": round(values.nbytes / 1e6, 1),
                    **timed(lambda: dist.all_reduce(values), device, size.repeats),
                },
                "step": timed(run.step, device, size.repeats),
            }
        finally:
            dist.destroy_process_group()
