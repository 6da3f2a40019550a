"""The memory of region embeddings, M = {M_1, …, M_C} (Eq. 3)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Update = Literal["fifo", "ema", "slot_ema", "image_ema"]

NOBODY = -1  # owner of a slot that is empty, or whose image is unknown


class MemoryBank(nn.Module):
    """M slots for each of C classes, written in a ring; all classes in one tensor.

    Updates:
        image_ema: An entry stands for class l in image I (paper). If the image has one,
            m ← momentum · m + (1 - momentum) · f; otherwise the region is copied over the oldest
            entry of its class.
        fifo: A region overwrites the oldest of its class.
        ema: A region is blended into the oldest: momentum · slot + (1 - momentum) · region. The
            first region of a slot is copied.
        slot_ema: As `ema`, but the slots start as noise, N(0, 1), and count as filled (released
            code). After n rounds a slot is still momentum^n noise, often most of it even after a
            whole training.

    Attributes:
        rows: The embeddings as they came, (C, M, D); `contrast` normalises them on reading.
        pointer: The next slot to write, (C,).
        count: The number of filled slots, (C,); they are the first ones.
        owner: The image of each entry, (C, M), with `image_ema`; otherwise `NOBODY`.
    """

    rows: Tensor
    pointer: Tensor
    count: Tensor
    owner: Tensor

    def __init__(
        self,
        classes: int,
        slots: int,
        channels: int,
        update: Update,
        momentum: float,
        generator: torch.Generator | None = None,
    ) -> None:
        """Create an empty memory; with `slot_ema`, fill it with noise from `generator`.

        Raises:
            ValueError: The update is unknown, or `slot_ema` has no generator.
        """
        super().__init__()
        if update not in ("fifo", "ema", "slot_ema", "image_ema"):
            raise ValueError(
                f"memory update {update!r}: use 'fifo', 'ema', 'slot_ema' or 'image_ema'"
            )
        self.by_image = update == "image_ema"
        self.momentum = 0.0 if update == "fifo" else momentum
        rows, count = torch.zeros(classes, slots, channels), torch.zeros(classes, dtype=torch.long)
        if update == "slot_ema":
            if generator is None:
                raise ValueError("memory update 'slot_ema' starts from noise: pass a generator")
            rows = torch.randn(rows.shape, generator=generator, device=generator.device).cpu()
            count += slots
        self.register_buffer("rows", rows)
        self.register_buffer("pointer", torch.zeros(classes, dtype=torch.long))
        self.register_buffer("count", count)
        self.register_buffer("owner", torch.full((classes, slots), NOBODY))

    @property
    def filled(self) -> Tensor:
        """Which slots hold a region, bool (C, M)."""
        return torch.arange(self.rows.shape[1], device=self.rows.device) < self.count[:, None]

    @torch.no_grad()
    def enqueue(self, embeddings: Tensor, labels: Tensor, images: Tensor | None = None) -> None:
        """Write regions in order; of more than M regions of a class, a FIFO keeps the last M.

        With `image_ema`, regions whose image has an entry are blended into it first, whatever their
        place in the order. Then the new ones are copied.

        Args:
            embeddings: The embeddings of the regions, (R, D).
            labels: The class of each region, (R,).
            images: The number of each region's image, (R,), from 0 on; a class occurs once per
                image. Only `image_ema` needs it.

        Raises:
            ValueError: The shapes do not fit, or `image_ema` is called without images.
        """
        channels = self.rows.shape[2]
        if embeddings.shape != (*labels.shape, channels):
            raise ValueError(
                f"embeddings are {tuple(embeddings.shape)} with {tuple(labels.shape)} labels; "
                f"the memory takes (R, {channels}) with (R,)"
            )
        embeddings = embeddings.to(self.rows.dtype)
        if not self.by_image:
            self._append(embeddings, labels, self.momentum)
            return
        if images is None:
            raise ValueError("memory update 'image_ema' keeps an entry an image: pass the images")
        found = self.owner[labels] == images[:, None]  # (R, M)
        known = found.any(dim=1)
        rows, slots = labels[known], found[known].int().argmax(dim=1)
        blend = torch.lerp(embeddings[known], self.rows[rows, slots], self.momentum)
        self.rows[rows, slots] = blend
        self._append(embeddings[~known], labels[~known], 0.0, images[~known])

    def _append(
        self,
        embeddings: Tensor,
        labels: Tensor,
        momentum: float,
        images: Tensor | None = None,
    ) -> None:
        """Write regions into the ring of their class; `momentum` is the old entry's share."""
        # M regions at a time cannot hit a slot twice. There is almost always one part only.
        slots = self.rows.shape[1]
        owners = torch.full_like(labels, NOBODY) if images is None else images
        parts = (tensor.split(slots) for tensor in (embeddings, labels, owners))
        for part, classes, owner in zip(*parts, strict=True):
            self._write(part, classes, momentum, owner)

    def _write(self, embeddings: Tensor, labels: Tensor, momentum: float, owner: Tensor) -> None:
        classes, slots, _ = self.rows.shape
        member = labels[:, None] == torch.arange(classes, device=labels.device)  # (R, C)
        earlier = (member.cumsum(dim=0) - 1).gather(1, labels[:, None])[:, 0]  # of its class, (R,)
        slot = (self.pointer[labels] + earlier) % slots
        written = (slot < self.count[labels]).to(embeddings.dtype)
        kept = momentum * written[:, None]  # the slot's share, (R, 1)
        self.rows[labels, slot] = torch.lerp(embeddings, self.rows[labels, slot], kept)
        self.owner[labels, slot] = owner
        added = member.sum(dim=0)
        self.pointer.add_(added).remainder_(slots)
        self.count.add_(added).clamp_(max=slots)


def admitted(tags: Tensor, logits: Tensor, gate: float, nonempty: Tensor | None = None) -> Tensor:
    """Select the regions that may enter the memory: tagged, and the class scored above `gate`.

    Args:
        tags: The image tags, (B, C).
        logits: The image scores of the final CAM, (B, C).
        gate: The probability that the sigmoid of the score must exceed (released code: 0.7).
        nonempty: Which regions have a pixel, (B, C). None if all have.

    Returns:
        Which regions may enter, bool (B, C).
    """
    entering = tags.bool() & (logits.sigmoid() > gate)
    return entering if nonempty is None else entering & nonempty
