"""`rca.load`: whatever a run has trained, ready for photographs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rca.config import ConfigError, Crf
from rca.inference import model, prototype_model
from rca.inference.photograph_model import PhotographModel


def load(
    weights: str | Path,
    *,
    params: str | Path | None = None,
    size: int | None = None,
    scales: Sequence[float] | None = None,
    flip: bool | None = None,
    crf: bool | Crf | None = None,
    max_pixels: int | None = None,
    device: str = "auto",
    threads: int | None = None,
) -> PhotographModel:
    """Load a trained segmentation network, or the prototypes of a run.

    Settings that are not given come from `params`; else from a network's file, if
    `SegmentationModel.save` wrote it; else from the evaluation of the run; else, for a network,
    from the size of the training's views, with flips and without a CRF.

    Args:
        weights: The trained network: `weights.safetensors` of stage `train_seg`; its folder; a
            folder `results/<experiment>`, whose network trained on pseudo-labels is taken; a folder
            from `rca export --format huggingface`; an ONNX file from `rca export`, which ONNX
            Runtime runs on the CPU; or the address of a model in MLflow, such as
            `runs:/<run>/segmentation` or `models:/<name>@champion`. Or the prototypes:
            `results/<experiment>/readout`, which needs `train_cam` beside it.
        params: The parameter file with the settings of inference.
        size: The short side of the image at scale 1, in pixels; for a network.
        scales: The factors on `size`; the probabilities are averaged; for a network.
        flip: Whether to average with the mirrored image, too; for a network.
        crf: Whether to refine by the dense CRF; a `Crf` refines with its settings.
        max_pixels: The number of pixels that larger photographs are reduced to; 0 is no limit.
        device: The device: `auto`, `cpu` or `cuda`.
        threads: The number of torch's CPU threads; None leaves it as it is.

    Raises:
        ConfigError: The weights or a setting cannot be used; the message says why.
    """
    file = Path(params) if params else None
    machine: dict[str, Any] = {"device": device, "threads": threads}
    decided: dict[str, Any] = {"crf": crf, "max_pixels": max_pixels}
    of_network: dict[str, Any] = {"size": size, "scales": scales, "flip": flip}
    if not prototype_model.is_readout(Path(weights)):
        return model.load(weights, file, **machine, **decided, **of_network)
    if odd := [name for name, value in of_network.items() if value is not None]:
        raise ConfigError(
            f"{', '.join(odd)}: for networks only; prototypes are read with the sizes of "
            "readout.sizes in --params"
        )
    return prototype_model.load_prototypes(Path(weights), params=file, **machine, **decided)
