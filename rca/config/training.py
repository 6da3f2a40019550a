"""What both trainings share: where they run, the backbone and the optimiser."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from rca.config.section import Count, Fraction, Positive, Section

BACKBONES = ("vgg16", "resnet50", "resnet101", "mobilenet_v2")
TIMM = "timm/"  # before the name of any of timm's networks


class Compute(Section):
    """Where a stage runs, and with how many workers; the output's bytes depend on `threads`."""

    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="`auto` uses a CUDA device if there is one."
    )
    threads: Count = Field(
        2, description="CPU threads of torch; the same count gives the same bytes."
    )
    workers: int = Field(
        0, ge=0, description="Processes that read images; 0 reads in the main process."
    )
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        "float32",
        description="Precision of the networks in training. The losses, the memory, the prototypes "
        "and inference are always float32.",
    )
    compile: bool = Field(
        False,
        description="Compile the networks for training (torch.compile); the start takes minutes.",
    )
    checkpoint_steps: int = Field(
        500,
        ge=0,
        description="Optimiser steps between two checkpoints of a training; 0 writes one only when "
        "SIGTERM or SIGUSR1 asks to stop.",
    )
    gpus: Count = Field(
        1,
        description="Processes per node in a training, each with a GPU unless `device: cpu`.",
    )
    nodes: Count = Field(1, description="Nodes of a training; above 1 only in a Slurm job.")
    shards: Count = Field(
        1,
        description="Jobs among which Snakemake splits the images of `infer_cam`, "
        "`readout`, `crf`, `relabel` and `infer_seg`; the results are the same.",
    )


def _known_backbone(name: str) -> str:
    """Refuse an unknown name; a name of timm's is checked when the network is built."""
    if name in BACKBONES or (name.startswith(TIMM) and name != TIMM):
        return name
    close = get_close_matches(name, BACKBONES, 1)
    hint = f"did you mean {close[0]}?" if close else f"have {', '.join(BACKBONES)}, {TIMM}MODEL"
    raise ValueError(f"no such backbone; {hint}")


class Backbone(Section):
    """The backbone, which computes the features F = FCN(I) of Eq. 1."""

    name: Annotated[str, AfterValidator(_known_backbone)] = Field(
        "vgg16",
        description="A torchvision network, or `timm/MODEL`: a timm network that is a sequence of "
        "convolutional stages; needs the extra `timm`.",
        json_schema_extra={"anyOf": [{"enum": list(BACKBONES)}, {"pattern": f"^{TIMM}."}]},
    )
    stride: Literal[8, 16, 32] = Field(
        8, description="Input pixels per feature; lower strides use dilation (paper: 8)."
    )
    weights: Path | Literal["imagenet", "none"] = Field(
        "imagenet",
        description="A safetensors file of the backbone, torchvision's or timm's own weights "
        "(`imagenet`), or none.",
    )
    blocks: Count | None = Field(
        None,
        description="Number of leading blocks in use; `null` uses all. 18 leaves out MobileNetV2's "
        "last 1×1 convolution, as DeepLab does.",
    )
    frozen_blocks: int = Field(
        0, ge=0, description="Number of leading blocks that are not trained (paper: 0)."
    )

    def files(self) -> list[Path]:
        """List the file of weights, if one is named."""
        return [self.weights] if isinstance(self.weights, Path) else []


class Optimiser(Section):
    """SGD with Nesterov momentum, and its schedule."""

    lr: Positive = Field(1e-3, description="Learning rate of the backbone's weights (paper: 1e-3).")
    head_lr_factor: Positive = Field(
        10, description="Factor on `lr` for the new layers (paper: 10)."
    )
    bias_lr_factor: Positive = Field(2, description="Further factor on `lr` for biases (paper: 2).")
    momentum: Fraction = 0.9
    weight_decay: float = Field(5e-4, ge=0)
    schedule: Literal["step", "poly"] = Field(
        "step", description="`step`: ×0.1 at `milestones` (paper). `poly`: (1 - t)^power."
    )
    milestones: list[Count] = Field([5, 10], description="Epochs of the steps (paper: 5, 10).")
    power: Positive = Field(0.9, description="Exponent of `poly`.")
    accumulate: Count = Field(
        1,
        description="Gradient accumulation: batches whose mean gradient makes a step, for batches "
        "that do not fit on the device. Contrast and mixup stay within a batch, and the memory is "
        "written after each.",
    )
