"""OAA, online attention accumulation (Jiang et al., ICCV 2019): the maps of all epochs, combined.

During training, a network looks at different parts of an object. The pixelwise maximum over the
epochs covers more of the object than any single epoch. Released RCA takes its pseudo-labels from
these maps.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rca.method.cams import normalise_cams


class AttentionStore(nn.Module):
    """The accumulated maps of every image, of its tagged classes only, float16.

    Differs from the released code: that names each file by the running number of the image in its
    shard of the batch, so with shuffling or on several GPUs, maps go to the wrong images. Here maps
    are keyed by image. The order, repetition and sharding of the images do not matter, and the
    stores of several processes are combined by the maximum of `maps`.

    The state includes the image names, so a store of other images refuses to load it.

    Attributes:
        maps: The maps, (N, H, W), from 0 to 1; one per pair of an image and its tagged class.
        seen: Which maps have been written, bool (N,).
    """

    maps: Tensor
    seen: Tensor
    place: Tensor

    def __init__(self, images: Sequence[str], tags: Tensor, size: tuple[int, int]) -> None:
        """Create an empty store.

        Args:
            images: The names of the images, I of them.
            tags: The image tags, (I, C).
            size: H and W of the maps, a grid over the whole image.

        Raises:
            ValueError: A name occurs twice, or the tags are of another number of images.
        """
        super().__init__()
        self.index = {image: number for number, image in enumerate(images)}
        if not len(self.index) == len(images) == len(tags):
            raise ValueError(
                f"{len(images)} images, {len(self.index)} names, tags of {len(tags)}: need one "
                "name and one row of tags per image"
            )
        pairs = tags.bool()
        place = (pairs.flatten().cumsum(0) - 1).view_as(pairs).masked_fill(~pairs, -1)
        count = int(pairs.sum())
        self.register_buffer("maps", torch.zeros(count, *size, dtype=torch.float16))
        self.register_buffer("seen", torch.zeros(count, dtype=torch.bool))
        self.register_buffer("place", place, persistent=False)  # (I, C), row of `maps` or -1

    @torch.no_grad()
    def update(
        self,
        images: Sequence[str],
        cams: Tensor,
        tags: Tensor,
        logits: Tensor,
        gate: float,
        missing_too: bool = False,
    ) -> None:
        """Take the maximum with the scaled maps of classes that score at least `gate`.

        Args:
            images: The names of the images, B of them.
            cams: The raw final CAMs, (B, C, H, W). Those of cropped or mirrored views must be
                carried to the image by `placement.to_image` first.
            tags: The image tags, (B, C). The maps of absent classes are left out.
            logits: The image scores, (B, C).
            gate: The lowest probability of a class whose map is taken (released code: 0.1).
            missing_too: Whether to take maps below the gate as well, where there is none so far.
                The released code does so in its last epoch.

        Raises:
            KeyError: An image is not in this store.
            ValueError: The maps have another size.
        """
        if cams.shape[-2:] != self.maps.shape[-2:]:
            raise ValueError(
                f"maps are {tuple(cams.shape[-2:])}, the store holds {tuple(self.maps.shape[-2:])}:"
                " carry them to its grid by placement.to_image"
            )
        place = self._places(images)  # (B, C)
        kept = (place >= 0) & tags.bool()
        confident = logits.sigmoid() >= gate
        if missing_too:
            confident |= ~self.seen[place.clamp_min(0)]
        kept &= confident
        rows, maps = place[kept], normalise_cams(cams)[kept].to(self.maps.dtype)
        # An image may occur twice in a batch: a scatter takes both.
        self.maps.scatter_reduce_(0, rows[:, None, None].expand_as(maps), maps, "amax")
        self.seen[rows] = True

    def get(self, images: Sequence[str]) -> Tensor:
        """Return the maps, (B, C, H, W) float32; zero for absent classes and where none is yet.

        Raises:
            KeyError: An image is not in this store.
        """
        place = self._places(images)
        maps = self.maps[place.clamp_min(0)].float()
        return maps.masked_fill((place < 0)[..., None, None], 0)

    def get_extra_state(self) -> Tensor:
        """Return the images' names, as bytes in a tensor, for the state."""
        return torch.tensor(list("\n".join(self.index).encode()), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Check that a state is of the same images.

        Raises:
            ValueError: The state is of other images.
        """
        if not torch.equal(state.cpu(), self.get_extra_state()):
            raise ValueError("the saved attention is of other images: accumulate it again")

    def _places(self, images: Sequence[str]) -> Tensor:
        try:
            numbers = [self.index[image] for image in images]
        except KeyError as error:
            raise KeyError(f"{error.args[0]}: not an image of this attention store") from None
        return self.place[torch.tensor(numbers, device=self.place.device)]


def attention_drop(
    images: Tensor,
    attention: Tensor,
    generators: Sequence[torch.Generator],
    threshold: float,
    probability: float,
) -> Tensor:
    """Erase what an image was recognised by so far, with `probability`: OAA++'s drop layer.

    Args:
        images: The normalised images, (B, channels, height, width). Erased pixels become 0, the
            mean colour.
        attention: The accumulated maps, (B, C, H, W), as `AttentionStore.get` returns them. For
            cropped or mirrored views, they must first be carried to the view by
            `placement.to_view`.
        generators: The generator of each image's coin toss, one per image: the toss must not depend
            on the batch.
        threshold: The level above which the map of any class has a pixel erased.
        probability: The probability that anything is erased from an image.

    Returns:
        The images after erasing, with the same shape.
    """
    seen = (attention.amax(dim=1, keepdim=True) > threshold).to(images)
    seen = F.interpolate(seen, images.shape[-2:], mode="nearest")
    coins = [torch.rand((), generator=draws, device=draws.device) for draws in generators]
    erased = (torch.stack(coins) < probability).to(images)[:, None, None, None]
    return images * (1 - seen * erased)
