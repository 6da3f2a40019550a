"""OAA, online attention accumulation (Jiang et al., ICCV 2019): the maps of all epochs, combined.

As training goes on a network looks at different parts of an object; the pixelwise maximum over the
epochs covers more of it than any one. Released RCA takes its pseudo-labels from these maps.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rca.method.cams import normalise_cams


class AttentionStore(nn.Module):
    """The accumulated maps of every image, of its tagged classes only, float16.

    Differs from the released code, which names a file by the running number of the image in its
    shard of the batch: shuffled or on several GPUs, maps there go to other images. Here they are
    keyed by image; order, repeats and sharding of the images do not matter, and the stores of
    several processes combine by the maximum of `maps`.

    Its state holds the names: loaded into a store of other images it is refused.

    Attributes:
        maps: (N, H, W), one per pair of an image and its tagged class, from 0 to 1.
        seen: bool (N,), which have been written.
    """

    maps: Tensor
    seen: Tensor
    place: Tensor

    def __init__(self, images: Sequence[str], tags: Tensor, size: tuple[int, int]) -> None:
        """An empty store.

        Args:
            images: names, I of them.
            tags: (I, C).
            size: H and W of the maps, a grid over the whole image.

        Raises:
            ValueError: a name occurs twice, or the tags are of another number of images.
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
            images: names, B of them.
            cams: final CAMs, (B, C, H, W), raw; of cut or mirrored views, carried to the image by
                `placement.to_image`.
            tags: (B, C); maps of absent classes are left out.
            logits: (B, C), image scores.
            gate: probability (released code: 0.1).
            missing_too: also take maps below the gate where there is none so far, as the released
                code does in its last epoch.

        Raises:
            KeyError: an image is not of this store.
            ValueError: the maps have another size.
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
        """Accumulated maps, (B, C, H, W) float32; zero for absent classes and where none is yet.

        Raises:
            KeyError: an image is not of this store.
        """
        place = self._places(images)
        maps = self.maps[place.clamp_min(0)].float()
        return maps.masked_fill((place < 0)[..., None, None], 0)

    def get_extra_state(self) -> Tensor:
        """The images' names, as bytes in a tensor, for the state."""
        return torch.tensor(list("\n".join(self.index).encode()), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Check that a state is of the same images.

        Raises:
            ValueError: it is not.
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
    """OAA++'s drop layer: with `probability`, erase what an image has been recognised by so far.

    Args:
        images: (B, channels, height, width), normalised; erased pixels become 0, the mean colour.
        attention: accumulated maps, (B, C, H, W), as `AttentionStore.get` returns them; of cut or
            mirrored views, carried to the view by `placement.to_view`.
        generators: of the coin tossed for an image, one each: it must not depend on the batch.
        threshold: erased where any class is above.
        probability: of erasing at all.

    Returns:
        As `images`.
    """
    seen = (attention.amax(dim=1, keepdim=True) > threshold).to(images)
    seen = F.interpolate(seen, images.shape[-2:], mode="nearest")
    coins = [torch.rand((), generator=draws, device=draws.device) for draws in generators]
    erased = (torch.stack(coins) < probability).to(images)[:, None, None, None]
    return images * (1 - seen * erased)
