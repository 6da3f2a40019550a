"""The settings by which photographs are segmented, and where they are found.

A training does not know how its network will be used, so the weights of `train_seg` do not say it.
`settings_for` looks, in this order, at

1. a parameter file that the user names: its sections `infer_seg` and `crf`;
2. the weights' metadata, which hold the settings if `SegmentationModel.save` wrote the file;
3. the run that the weights belong to: the protocol in its `evaluate/metrics.json`, by which the
   network's mIoU was measured;
4. the training: the mean short side of its views, one scale, flips, no CRF.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from pydantic import Field, ValidationError

from rca.config import ConfigError, Crf, InferSeg, Section, TrainSeg, load
from rca.config.section import Count
from rca.data.palette import voc_palette
from rca.evaluation.protocol import inference_in_words

Kind = TypeVar("Kind", bound=Section)

MAX_PIXELS = 1_000_000


class Settings(Section):
    """The sections `infer_seg` and `crf`, and a limit so that large photographs fit in memory."""

    infer_seg: InferSeg
    crf: Crf = Crf()
    max_pixels: Count | None = Field(
        MAX_PIXELS,
        description="Photographs with more pixels are reduced to that many; their probabilities "
        "are enlarged again. `null` computes at full size, as stage `infer_seg` does.",
    )

    @property
    def refining(self) -> Crf | None:
        """The CRF, if it is to be used."""
        return self.crf if self.infer_seg.crf else None


class Known(NamedTuple):
    """The settings and colours for a network, and the settings' origin, for messages."""

    settings: Settings
    palette: np.ndarray
    origin: str


def settings_for(
    weights: Path, metadata: Mapping[str, Any], cfg: TrainSeg, params: Path | None = None
) -> Known:
    """Find the settings and colours to use with the network at `weights`.

    Args:
        weights: The file of the network.
        metadata: The metadata of the file.
        cfg: The section `train_seg` of its training.
        params: A parameter file that takes precedence.

    Raises:
        ConfigError: The settings that were found cannot be used.
    """
    run = _run_of(weights)
    saved = metadata.get("inference")
    palette = np.array(metadata["palette"], np.uint8) if "palette" in metadata else None
    if palette is None:
        palette = palette_of(run, metadata["classes"])
    if params:
        given = load(params)
        settings = Settings(infer_seg=given.infer_seg, crf=given.crf)
        return Known(settings, palette, str(params))
    if saved:
        return Known(checked(Settings, saved, weights), palette, "the weights' file")
    if run and (measured := _measured(run)):
        return Known(measured, palette, str(run / "evaluate" / "metrics.json"))
    return Known(Settings(infer_seg=as_trained(cfg)), palette, "the size of the training alone")


def as_trained(cfg: TrainSeg) -> InferSeg:
    """Return the settings to use if nothing but the training is known."""
    low, high = cfg.view.scale if cfg.view.mode == "crop" else (1, 1)
    size = round(cfg.view.size * (low + high) / 2)
    return InferSeg(size=size, scales=[1.0], flip=True, crf=False)


def changed(
    settings: Settings,
    *,
    size: int | None = None,
    scales: Sequence[float] | None = None,
    flip: bool | None = None,
    crf: bool | Crf | None = None,
    max_pixels: int | None = None,
) -> Settings:
    """Return the settings with the given ones replaced; `max_pixels` 0 is no limit.

    Raises:
        ConfigError: A value is not allowed.
    """
    given = {
        "size": size,
        "scales": None if scales is None else list(scales),
        "flip": flip,
        "crf": None if crf is None else bool(crf),
    }
    given = {key: value for key, value in given.items() if value is not None}
    return checked(
        Settings,
        {
            "infer_seg": checked(InferSeg, {**settings.infer_seg.model_dump(), **given}),
            "crf": crf if isinstance(crf, Crf) else settings.crf,
            "max_pixels": settings.max_pixels if max_pixels is None else max_pixels or None,
        },
    )


def checked(kind: type[Kind], values: Mapping[str, Any], file: Path | None = None) -> Kind:
    """Validate values as a section; errors name `file`, if the values come from one.

    Raises:
        ConfigError: A value is not allowed.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        fault = error.errors()[0]
        key = ".".join(str(part) for part in fault["loc"])
        place = f"{file}: " if file else ""
        raise ConfigError(f"{place}{key}: {fault['msg']} (it is {fault['input']!r})") from None


def crf_in_use(crf: Crf | None) -> dict[str, Any] | None:
    """Return the settings of a CRF that determine its masks, as JSON; None without a CRF."""
    return None if crf is None else crf.model_dump(mode="json", exclude={"processes", "method"})


def in_words(settings: Settings) -> str:
    """Describe the settings in one line."""
    cfg = settings.infer_seg
    return f"short side {cfg.size}, {inference_in_words(cfg.model_dump())}"


def _run_of(weights: Path) -> Path | None:
    """Return `results/<experiment>` for weights in its `train_seg/<supervision>/`, or None."""
    folder = weights.absolute().parent
    return folder.parents[1] if folder.parent.name == "train_seg" else None


def _measured(run: Path | None) -> Settings | None:
    """Return the settings under which the run was evaluated, or None if they are unknown."""
    file, protocol = protocol_of(run)
    inference, crf = protocol.get("segmentation_inference"), protocol.get("crf", {})
    if inference is None or (inference.get("crf") and crf.get("method") != "dense"):
        return None  # not evaluated, or with a CRF that the protocol does not describe
    used = {"crf": crf} if crf.get("method") == "dense" else {}
    return checked(Settings, {"infer_seg": inference, **used}, file)


def protocol_of(run: Path | None) -> tuple[Path | None, dict[str, Any]]:
    """Return the file of a run's scores, and the protocol in it; {} if there is none."""
    file = run and run / "evaluate" / "metrics.json"
    return file, _read(file).get("protocol", {})


def palette_of(run: Path | None, classes: list[str]) -> np.ndarray:
    """Return the colours of the run's masks, uint8 (256, 3); VOC's if no run has these classes."""
    index = _read(run and run / "index" / "dataset.json")
    if index.get("classes") == classes:
        return np.array(index["palette"], np.uint8)
    return voc_palette()


def _read(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
