"""A cache of training views after a network's frozen blocks, shared by all trainings that use them.

The frozen blocks' output for a view depends on the image, the epoch and the seed alone. A study
that trains the same network a dozen times on the same views need not read and crop the photographs
again, nor run the frozen blocks.
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
    """`TrainingImages` whose pixels are the frozen blocks' output, (D, h, w).

    The first training that asks for an epoch computes all of it and writes it to the cache. The
    cached views are computed in batches of another size than the network's, so they differ from
    the network's own by rounding alone.
    """

    def __init__(
        self,
        images: TrainingImages,
        backbone: Backbone,
        cfg: BackboneConfig,
        seed: int,
        folder: Path,
    ) -> None:
        """Take over the frozen blocks of `backbone`, whose forward pass skips them from now on.

        Args:
            images: The views, without labels.
            backbone: The backbone of the network that is trained.
            cfg: The configuration of the backbone.
            seed: The seed of the views.
            folder: The folder of the cache. It may serve many trainings: views of different
                images, settings or seeds get folders of their own in it.

        Raises:
            ConfigError: No block is frozen.
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
