"""The typed configuration: what `params.yaml` may hold, with units and the paper's values.

Every key is checked before anything runs (`extra="forbid"`); an error names the file, the key and
what is allowed. Stages receive one section of `Params`; none of them reads the file itself.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

IGNORE = 255  # label of the pixels that neither teach nor count

Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Range = tuple[Positive, Positive]


class ConfigError(ValueError):
    """`params.yaml` (or a file like it) cannot be used; the message names file, key and fix."""


class Section(BaseModel):
    """A part of the configuration: immutable, and strict about keys and types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)

    def digest(self) -> str:
        """Twelve hex digits that change whenever a value does."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]


class Compute(Section):
    """Where and with how many workers a stage runs; `threads` is part of what fixes the bytes."""

    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="`auto` takes a CUDA device where there is one."
    )
    threads: Count = Field(
        2, description="CPU threads of torch; the same count gives the same bytes."
    )
    workers: int = Field(
        0, ge=0, description="Processes that read images; 0 reads in the main process."
    )


class Download(Section):
    """The data set to bring, and what proves that it is the right one."""

    name: str = Field(description="Folder under `data/` that the data set is unpacked to.")
    archive: Path = Field(description="Tar archive of a VOC-like folder.")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of `archive`.")


class IndexSection(Section):
    """Which images and classes take part."""

    classes: list[str] | None = Field(
        None,
        min_length=1,
        description="Subset of the data set's classes, in this order; pixels of the others are "
        "ignored (255) and their tags dropped. `null` takes all.",
    )
    train_list: str = Field("train", description="ImageSets list of the training images.")
    val_list: str = Field("val", description="ImageSets list of the validation images.")
    limit: Count | None = Field(
        None, description="Only the first so many images of each list, for quick trials."
    )


class View(Section):
    """How a training image is cut to a tensor."""

    mode: Literal["square", "crop"] = Field(
        "square",
        description="`square`: the whole image resized to size × size, aspect distorted (paper). "
        "`crop`: short side to size × scale, then a random size × size crop.",
    )
    size: Count = Field(368, description="Side of the input in pixels (paper: 368).")
    scale: Range = Field((1.0, 1.0), description="Range of the random scale, with `crop`.")
    flip: bool = Field(False, description="Random horizontal flip (paper: no).")
    jitter: Fraction = Field(
        0.3, description="Strength of brightness, contrast and saturation jitter (paper: 0.3)."
    )
    hue: Annotated[float, Field(ge=0, le=0.5)] = Field(
        0.1, description="Strength of the hue jitter, in turns (paper: 0.1)."
    )


class Backbone(Section):
    """The features F = FCN(I), Eq. 1."""

    name: Literal["vgg16", "resnet50", "resnet101", "mobilenet_v2"] = "vgg16"
    stride: Literal[8, 16, 32] = Field(
        8, description="Input pixels per feature; lower strides dilate instead (paper: 8)."
    )
    weights: Path | Literal["imagenet", "none"] = Field(
        "imagenet",
        description="A safetensors file of the backbone, torchvision's ImageNet weights, or none.",
    )
    blocks: Count | None = Field(
        None,
        description="Leading blocks in use; `null` takes all. 18 leaves out MobileNetV2's last 1×1 "
        "convolution, as DeepLab does.",
    )
    frozen_blocks: int = Field(
        0, ge=0, description="Leading blocks that are not trained (paper: 0)."
    )


class Head(Section):
    """The class-aware convolutions F_CAM: `depth` × (3×3 conv + ReLU), then 1×1 to the classes."""

    depth: int = Field(3, ge=0, description="Hidden 3×3 convolutions (paper: 3).")
    width: Count = Field(512, description="Channels of the hidden convolutions (paper: 512).")


class Optimiser(Section):
    """SGD with Nesterov momentum, and its schedule."""

    lr: Positive = Field(1e-3, description="Learning rate of the backbone's weights (paper: 1e-3).")
    head_lr_factor: Positive = Field(10, description="Times `lr` for the new layers (paper: 10).")
    bias_lr_factor: Positive = Field(2, description="Times more for biases (paper: 2).")
    momentum: Fraction = 0.9
    weight_decay: float = Field(5e-4, ge=0)
    schedule: Literal["step", "poly"] = Field(
        "step", description="`step`: ×0.1 at `milestones` (paper). `poly`: (1 - t)^power."
    )
    milestones: list[Count] = Field([5, 10], description="Epochs of the steps (paper: 5, 10).")
    power: Positive = Field(0.9, description="Exponent of `poly`.")


class Contrast(Section):
    """RSC: regional semantic contrast, Eqs. 2 to 6."""

    enabled: bool = True
    weight: float = Field(0.01, ge=0, description="Weight of the loss (released code: 0.01).")
    start_epoch: int = Field(2, ge=0, description="First epoch with the loss, 0-based.")
    temperature: Positive = Field(0.07, description="t of Eq. 4.")
    beta: Positive = Field(8.0, description="Shape of Beta(β, β) in Eq. 5.")


class Memory(Section):
    """The memory of class regions M, Eq. 3."""

    slots: Count = Field(500, description="Regions kept per class (paper: 500).")
    gate: Fraction = Field(
        0.7, description="A region enters if its class scores above this (paper: 0.7)."
    )


class Aggregation(Section):
    """RSA: regional semantic aggregation over prototypes, Eqs. 7 to 10."""

    enabled: bool = True
    prototypes: Count = Field(10, description="K per class.")
    start_epoch: int = Field(1, ge=0, description="First epoch that refits the prototypes.")
    scale: Literal["one", "rsqrt_dim", "cosine"] = Field(
        "one", description="Factor on F·Qᵀ in Eq. 7: 1 (paper), 1/√D, or cosine/temperature."
    )
    temperature: Positive = Field(0.07, description="Temperature of the `cosine` scale.")


class TrainCam(Section):
    """Stage `train_cam`: the classification network with RSC and RSA."""

    epochs: Count = Field(30, description="Passes over the training images (paper: 30).")
    batch_size: Count = Field(8, description="Images a step (paper: 8).")
    auxiliary_weight: float = Field(
        0.4, ge=0, description="Weight of the coarse CAM's classification loss (paper: 0.4)."
    )
    view: View = View()
    backbone: Backbone = Backbone()
    head: Head = Head()
    optimiser: Optimiser = Optimiser()
    memory: Memory = Memory()
    rsc: Contrast = Contrast()
    rsa: Aggregation = Aggregation()


class InferCam(Section):
    """Stage `infer_cam`: class activation maps of every image, at several scales."""

    size: Count = Field(368, description="Short side of the image at scale 1, in pixels.")
    scales: list[Positive] = Field([0.5, 1.0, 1.5, 2.0], min_length=1)
    flip: bool = True
    network_stride: Literal[8, 16, 32] | None = Field(
        None,
        description="Stride of the network at inference; a lower one than in training dilates the "
        "same weights to finer maps. `null` keeps the training's.",
    )
    presence: Fraction = Field(
        0.5,
        description="Probability from which a class counts as present in a validation image, whose "
        "tags are not used; the most probable class always does.",
    )
    stride: Count = Field(4, description="Image pixels per stored CAM pixel.")
    bits: Literal[8, 16] = Field(8, description="Bits of a stored CAM value.")
    shard_size: Count = Field(256, description="Images per file of the CAM store.")


class PseudoLabels(Section):
    """Stage `pseudo_labels`, and the rules that `crf` applies again after refinement."""

    background: Literal["threshold", "power", "saliency"] = Field(
        "threshold",
        description="Background score: the constant `threshold`; (1 - max CAM)^`power`; or "
        "1 - saliency map (a cue beyond tags).",
    )
    threshold: Fraction = Field(0.25, description="Background score, with `threshold`.")
    power: Positive = Field(4.0, description="Exponent, with `power` (released code: 4).")
    uncertain_margin: Fraction = Field(
        0.0,
        description="Pixels whose best class leads or trails the background by less become 255.",
    )
    conflict_threshold: Fraction = Field(
        0.9, description="Two scores above this make a pixel 255 (released code: 0.9)."
    )
    uncertain_saliency: Fraction = Field(
        0.125,
        description="With `saliency`: background pixels at least this salient become 255 "
        "(released code: 32/255).",
    )
    confident_cam: Fraction = Field(
        0.8,
        description="With `saliency`: background pixels with a CAM above this become 255 (0.8).",
    )
    min_foreground: Fraction = Field(
        0.01, description="Images with a smaller foreground become all 255 (released code: 1 %)."
    )


class Crf(Section):
    """Stage `crf`: fully connected CRF (Krähenbühl & Koltun) over the CAMs' scores."""

    method: Literal["dense", "none"] = Field("dense", description="`none` passes labels through.")
    iterations: Count = 10
    gaussian_sxy: Positive = Field(3.0, description="Pixels (released code: 3).")
    gaussian_compat: Positive = 3.0
    bilateral_sxy: Positive = Field(80.0, description="Pixels (released code: 80).")
    bilateral_srgb: Positive = Field(13.0, description="Grey levels (released code: 13).")
    bilateral_compat: Positive = 10.0
    processes: int = Field(0, ge=0, description="Worker processes; 0 takes every core.")


class TrainSeg(Section):
    """Stage `train_seg`: a DeepLab network on the refined pseudo-labels."""

    supervisions: list[Literal["pseudo", "truth"]] = Field(
        ["pseudo"],
        min_length=1,
        description="`pseudo`: the refined labels. `truth`: the true masks, as an upper bound.",
    )
    head: Literal["deeplab_v2", "large_fov", "deeplab_v3"] = "deeplab_v2"
    epochs: Count = 30
    batch_size: Count = 8
    balanced: bool = Field(
        False,
        description="Weigh the background's pixels together as much as the classes' together. "
        "Against networks that call everything background where labels are few and noisy.",
    )
    view: View = View(mode="crop", size=321, scale=(0.5, 1.5), flip=True, jitter=0.0, hue=0.0)
    backbone: Backbone = Backbone(name="resnet101")
    optimiser: Optimiser = Optimiser(lr=2.5e-4, schedule="poly")


class InferSeg(Section):
    """Stage `infer_seg`: masks of the validation images."""

    size: Count = Field(321, description="Short side of the image at scale 1, in pixels.")
    scales: list[Positive] = Field([0.75, 1.0, 1.25], min_length=1)
    flip: bool = True
    crf: bool = Field(
        False, description="Refine the network's probabilities by the CRF of section `crf`."
    )


class Evaluate(Section):
    """Stage `evaluate`: IoU of every intermediate product against the true masks."""

    ignored_predictions: Literal["strict", "background", "excluded"] = Field(
        "strict",
        description="Predicted 255: counted as a miss, as background, or left out (with coverage).",
    )


class Report(Section):
    """Stage `report`: one HTML page."""

    panels: Count = Field(24, description="Validation images shown, half best and half worst.")
    training_panels: Count = Field(12, description="Training images shown.")


class Track(Section):
    """Stage `track`: the run as MLflow shows it."""

    uri: str = Field("sqlite:///mlflow.db", description="MLflow tracking URI.")
    run_name: str | None = Field(None, description="Name of the run; `null` takes `experiment`.")


class Params(Section):
    """The whole of `params.yaml`."""

    experiment: str = Field(
        pattern=r"^[A-Za-z0-9_.-]+$", description="Results go to `results/<experiment>/`."
    )
    seed: int = Field(0, ge=0, description="Every random choice derives from it.")
    compute: Compute = Compute()
    download: Download
    index: IndexSection = IndexSection()
    train_cam: TrainCam = TrainCam()
    infer_cam: InferCam = InferCam()
    pseudo_labels: PseudoLabels = PseudoLabels()
    crf: Crf = Crf()
    train_seg: TrainSeg = TrainSeg()
    infer_seg: InferSeg = InferSeg()
    evaluate: Evaluate = Evaluate()
    report: Report = Report()
    track: Track = Track()

    @model_validator(mode="after")
    def _pseudo_comes_first(self) -> Params:
        if "pseudo" not in self.train_seg.supervisions:
            raise ValueError("train_seg.supervisions must hold 'pseudo'")
        return self


def load(path: Path) -> Params:
    """Read and check a parameter file.

    Raises:
        ConfigError: the file is missing, no YAML, or holds a wrong key or value; every fault is
            named on a line of its own.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; run from the repository's root") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"{path} cannot be used:\n{_explain(error)}") from None


def _explain(error: ValidationError) -> str:
    lines = []
    for fault in error.errors():
        key = ".".join(str(part) for part in fault["loc"]) or "(the file)"
        if fault["type"] == "extra_forbidden":
            lines.append(f"  {key}: no such key; remove it or correct its name")
        elif fault["type"] == "missing":
            lines.append(f"  {key}: missing")
        else:
            lines.append(f"  {key}: {fault['msg']} (it is {fault['input']!r})")
    return "\n".join(lines)


def json_schema() -> str:
    """JSON schema of `params.yaml`, for editors."""
    return json.dumps(Params.model_json_schema(), indent=2) + "\n"
