"""An exported network in an ONNX file, run by ONNX Runtime on the CPU."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rca.config import ConfigError, not_installed

SUFFIX = ".onnx"
INPUT = "pixel_values"
OUTPUT = "logits"
SMALLEST = 64  # pixels; below 33, a backbone of stride 32 gives a single feature


class OnnxNetwork:
    """A function from images to logits, as `rca export` writes it."""

    def __init__(self, path: Path, threads: int = 0) -> None:
        """Open a file.

        Args:
            path: The path of the file.
            threads: The number of CPU threads; 0 lets ONNX Runtime choose.

        Raises:
            ConfigError: ONNX Runtime is not installed, or the file is missing or damaged.
        """
        try:
            import onnxruntime
        except ImportError:
            raise not_installed(str(path), "onnxruntime", "export") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.path, self.runtime = path, onnxruntime.__version__
        try:
            self.session = onnxruntime.InferenceSession(
                path, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # of no common base class
            reason = str(error).partition("\n")[0]
            raise ConfigError(f"{path}: no usable ONNX file ({reason}); export it again") from None

    def metadata(self) -> Mapping[str, Any]:
        """Read what the file says of its network, in the terms of a weights file.

        Returns:
            `classes`, `config` (section `train_seg`), and, if the file says it, `inference` (the
            settings) and `palette` (the colour of each label).

        Raises:
            ConfigError: The file was not written by `rca export`.
        """
        said = self.session.get_modelmeta().custom_metadata_map
        try:
            labels, config = json.loads(said["labels"]), json.loads(said["training"])
            known = {key: json.loads(said[key]) for key in ("inference", "palette") if key in said}
        except (KeyError, ValueError):
            raise ConfigError(
                f"{self.path}: does not say which labels it gives; only files from rca export are "
                "read"
            ) from None
        config["backbone"]["weights"] = "none"  # the file holds all weights
        return {"classes": labels[1:], "config": config, **known}

    def described(self) -> dict[str, str]:
        """Return what determines the logits beside the file, as JSON."""
        return {"onnxruntime": self.runtime}

    def require_size(self, short_side: int, scales: Sequence[float]) -> None:
        """Make sure that no image is smaller than the graph allows.

        Args:
            short_side: The short side of the images at scale 1, in pixels.
            scales: The factors on it.

        Raises:
            ConfigError: At some scale, an image has fewer than `SMALLEST` pixels on a side.
        """
        smallest = round(short_side * min(scales))
        if smallest < SMALLEST:
            raise ConfigError(
                f"{self.path}: takes images of {SMALLEST} pixels or more on each side, not of "
                f"{smallest}; give a larger size or scale, or the network's weights instead"
            )

    def __call__(self, images: Tensor) -> Tensor:
        """Compute the logits (B, C + 1, H, W) of `images`, (B, 3, H, W) normalised."""
        (logits,) = self.session.run([OUTPUT], {INPUT: images.numpy()})
        return torch.from_numpy(logits)
