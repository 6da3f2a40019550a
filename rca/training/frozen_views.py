"""Training views behind a network's frozen blocks, kept for all trainings that have them in common.

What the frozen blocks make of a view depends on the image, the epoch and the seed alone. A study
that trains the same network a dozen times on the same views need not read and cut the photographs
again, nor run the blocks that do not learn.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from rca.config import Backbone as BackboneConfig
from rca.config import ConfigError
from rca.data.datasets import BLANK, Example, TrainingImages
from rca.models.backbones import Backbone
from rca.runtime.code import code_digest
from rca.runtime.files import new_file
from rca.runtime.progress import progress

CODE = (__name__, "rca.training.seeds")  # what views come from; the seeds are handed in
TOGETHER = 32  # views that go through the frozen blocks at a time


class FrozenViews(TrainingImages):
    """`TrainingImages` whose pixels are what the frozen blocks make of them, (D, h, w).

    An epoch that no training has asked for yet is computed as a whole and written. The same views
    in batches of another size differ from those of the network by rounding alone.
    """

    def __init__(
        self,
        images: TrainingImages,
        backbone: Backbone,
        cfg: BackboneConfig,
        seed: int,
        folder: Path,
    ) -> None:
        """Leave the frozen blocks of `backbone` out of its forward pass from now on.

        Args:
            images: views without labels.
            backbone: of the network that is trained.
            cfg: its configuration.
            seed: source of the views.
            folder: where the views of many trainings may be, each kind in a folder of its own.

        Raises:
            ConfigError: no block is frozen.
        """
        if not cfg.frozen_blocks:
            raise ConfigError("backbone.frozen_blocks: 0, so there is nothing to keep")
        super().__init__(images.records, images.tags, images.view, images.seeds)
        self.frozen = torch.nn.Sequential(*list(backbone)[: cfg.frozen_blocks])
        backbone.first = cfg.frozen_blocks
        identity = {
            "images": [record.image for record in images.records],
            "view": images.view.model_dump(mode="json"),
            "backbone": cfg.model_dump(mode="json"),
            "seed": seed,
            "code": [code_digest(module) for module in CODE],
        }
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        self.folder = folder / digest[:12]

    def __getitem__(self, key: tuple[int, int]) -> Example:
        epoch, position = key
        file = self.folder / f"epoch-{epoch:03d}.safetensors"
        if not file.is_file():
            self._write(epoch, file)
        with safe_open(file, "pt") as views:
            if position == BLANK:
                blank = super().__getitem__(key)
                return blank._replace(pixels=torch.zeros_like(views.get_tensor("0")))
            pixels, box = views.get_tensor(str(position)), views.get_slice("boxes")[position]
        return Example(pixels, self.tags[position], torch.empty(0), position, box)

    @torch.inference_mode()
    def _write(self, epoch: int, file: Path) -> None:
        tensors: dict[str, Tensor] = {}
        boxes: list[Tensor] = []
        positions = range(len(self.records))
        parts = [positions[start : start + TOGETHER] for start in positions[::TOGETHER]]
        for part in progress(parts, len(parts), f"views of epoch {epoch + 1}, part"):
            views = [super(FrozenViews, self).__getitem__((epoch, position)) for position in part]
            device = next(self.frozen.parameters()).device
            pixels = torch.stack([view.pixels for view in views]).to(device)
            features = self.frozen(pixels.contiguous(memory_format=torch.channels_last)).cpu()
            for position, row in zip(part, features, strict=True):
                tensors[str(position)] = row.contiguous()
            boxes += [view.boxes for view in views]
        with new_file(file) as partial:
            save_file({**tensors, "boxes": torch.stack(boxes)}, partial)
