"""Pixels of images as stage `readout` sees them: features, directions, and samples of them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from rca.config import ConfigError, Readout, TrainCam
from rca.data.cam_store import CamStore
from rca.data.images import read_image
from rca.data.index import Index, Record
from rca.data.saliency import read_saliency
from rca.data.views import normalised
from rca.method.readout import Pixels, ReadoutSettings, pixel_directions
from rca.models.backbones import Backbone
from rca.models.cam_network import CamNetwork
from rca.models.device import placed
from rca.models.features import block_features
from rca.models.weights import load_network
from rca.readout.sample import (
    ImageSample,
    count_pixels,
    draw_pixels,
    is_sample,
    read_sample,
    write_sample,
)
from rca.runtime.progress import progress
from rca.runtime.state import Shard
from rca.training.seeds import generator

log = logging.getLogger(__name__)

ROWS = 16384  # pixels whose directions are computed at a time


@dataclass(frozen=True)
class Reader:
    """What turns an image into features, and a sample of them into pixels to fit to.

    Attributes:
        cfg: section `readout`.
        backbone: of the CAM network.
        device: where it runs.
        cams: CAM stores of `train` and `val`.
        widths: channels of each block at each size.
        data: the index.
        rsa: RSA's prototypes (L, K, D), the background's last, and validity (L, K), with
            `start: rsa`.
    """

    cfg: Readout
    backbone: Backbone
    device: torch.device
    cams: dict[str, CamStore]
    widths: list[int]
    data: Index
    rsa: tuple[Tensor, Tensor] | None = None

    def features(self, record: Record) -> Tensor:
        """Features of an image, all blocks and sizes in a row, float16 (h, w, D)."""
        image = normalised(read_image(record.file)).to(self.device)
        assert self.cfg.blocks  # `make_reader` names them
        blocks = block_features(self.backbone, image, self.cfg.blocks, self.cfg.sizes)
        return torch.cat(blocks).movedim(0, -1).half()

    def directions(self, features: Tensor, means: Tensor) -> Tensor:
        """`pixel_directions` of features (…, D), given their means, (D,)."""
        return pixel_directions(features, means, self.widths)

    def start(self, means: Tensor) -> tuple[Tensor, Tensor] | None:
        """RSA's prototypes as directions among those of pixels, the background's first."""
        if self.rsa is None:
            return None
        prototypes, valid = (tensor.roll(1, dims=0) for tensor in self.rsa)
        # The same block at each size: RSA knows nothing of sizes.
        repeated = prototypes.repeat(1, 1, len(self.cfg.sizes))
        return self.directions(repeated, means), valid

    def classes(self, record: Record) -> Tensor:
        """The classes that the CAM store has of an image, bool (C,)."""
        present = torch.zeros(len(self.data.classes), dtype=torch.bool)
        present[torch.from_numpy(self.cams[record.split].read(record.image)[0])] = True
        return present

    def cam_pixels(self, record: Record, sample: ImageSample) -> Tensor:
        """CAMs of the sampled pixels, float16 (n, C)."""
        classes, cams = self.cams[record.split].read(record.image)
        pixels = torch.zeros(len(sample.places), len(self.data.classes), dtype=torch.float16)
        if len(classes):
            maps = _at_grid(torch.from_numpy(cams), sample.grid).flatten(1)
            pixels[:, torch.from_numpy(classes)] = maps[:, sample.places.long()].T.half()
        return pixels

    def foreground(self, record: Record, grid: tuple[int, int]) -> Tensor | None:
        """Prior probability that a pixel is foreground, float32 (h, w); None without saliency."""
        if not self.cfg.saliency or record.split != "train":
            return None
        saliency = _at_grid(torch.from_numpy(read_saliency(record))[None], grid)[0]
        return saliency * self.cfg.saliency_trust + (1 - self.cfg.saliency_trust) / 2


def _at_grid(maps: Tensor, grid: tuple[int, int]) -> Tensor:
    """Maps (N, H, W) from 0 to 1 on another grid, (N, h, w)."""
    resized = F.interpolate(maps[None], grid, mode="bilinear", align_corners=False, antialias=True)
    return resized[0].clamp(0, 1)


def make_reader(
    cfg: Readout, data: Index, weights: Path, cams: Path, device: torch.device
) -> Reader:
    """Load the CAM network and its stores.

    Raises:
        ConfigError: the weights cannot be used, or the backbone has no such block.
    """
    network = load_network(weights, CamNetwork, TrainCam, data.classes, cfg.network_stride)
    backbone = placed(network.backbone, device)
    last = len(backbone) - 1
    blocks = sorted(cfg.blocks or [last])
    if blocks[-1] > last:
        raise ConfigError(
            f"readout.blocks: {blocks[-1]}, but the last block of the network is {last}"
        )
    cfg = cfg.model_copy(update={"blocks": blocks})
    probe = block_features(backbone, torch.zeros(3, 64, 64, device=device), blocks, cfg.sizes)
    stores = {split: CamStore(cams / split) for split in ("train", "val") if data.split(split)}
    widths = [len(block) for block in probe]
    rsa = None
    if cfg.start == "rsa":
        rsa = network.prototypes.cpu(), network.prototypes_valid.cpu()
    return Reader(cfg, backbone, device, stores, widths, data, rsa)


def settings_of(cfg: Readout) -> ReadoutSettings:
    """What the method must know of section `readout`."""
    return ReadoutSettings(
        **{field.name: getattr(cfg, field.name) for field in fields(ReadoutSettings)}
    )


def sample_pixels(
    reader: Reader, pieces: Sequence[Sequence[Record]], seed: int, folder: Path, shard: Shard
) -> list[Path]:
    """Files of sampled features, one for each piece of the training images.

    Those of this shard are written where they are missing. Of each image as many pixels are drawn
    as fit into `memory_mb` for all images; of a small data set that is all of them. Images without
    tags have no part.
    """
    most = pixels_an_image(reader.cfg, reader.widths, sum(map(len, pieces)))
    files = [folder / f"sample/{number:05d}.safetensors" for number in range(len(pieces))]
    for file, records in shard.pick(list(zip(files, pieces, strict=True))):
        if is_sample(file, [record.image for record in records]):
            log.info("%s was already done", file.name)
            continue
        samples = {}
        for record in progress(records, len(records), "features of train, image"):
            features = reader.features(record)
            grid = (features.shape[0], features.shape[1])
            # Without a tag nobody knows what is there, and no label can be learnt from it.
            count = most if record.tags else 0
            places = draw_pixels(grid, count, generator(seed, "readout", "pixels", record.image))
            kept = features.flatten(0, 1)[places.long().to(features.device)].cpu()
            samples[record.image] = ImageSample(kept, places, grid)
        write_sample(file, samples)
    return files


def pixels_an_image(cfg: Readout, widths: Sequence[int], images: int) -> int:
    """Pixels of each image whose float16 features fit into `memory_mb`, at least one."""
    return max(cfg.memory_mb * 10**6 // (2 * sum(widths)) // images, 1)


class Gathered(NamedTuple):
    """All sampled pixels of the training images, in memory.

    Attributes:
        pixels: what prototypes are fitted to.
        means: of the features, float32 (D,).
        places: number of each pixel in its image's grid, row by row, (N,).
        grids: height and width of each image's grid, I of them.
    """

    pixels: Pixels
    means: Tensor
    places: Tensor
    grids: list[tuple[int, int]]

    def spot(self, pixel: int) -> tuple[float, float]:
        """The centre of a pixel, as shares of its image's width and height."""
        height, width = self.grids[int(self.pixels.image[pixel])]
        row, column = divmod(int(self.places[pixel]), width)
        return (column + 0.5) / width, (row + 0.5) / height


def gather_pixels(
    reader: Reader, pieces: Sequence[Sequence[Record]], files: Sequence[Path]
) -> Gathered:
    """Read the sampled pixels of all training images.

    Args:
        reader: what read the features.
        pieces: the training images of each file.
        files: what `sample_pixels` wrote.
    """
    rows = [
        count_pixels(file, [record.image for record in piece])
        for file, piece in zip(files, pieces, strict=True)
    ]
    features = torch.empty(sum(rows), sum(reader.widths), dtype=torch.float16)
    cams, image, places, foreground = [], [], [], []
    grids: list[tuple[int, int]] = []
    filled = 0
    for file, piece in zip(files, pieces, strict=True):
        samples = read_sample(file, [record.image for record in piece])
        for record, sample in zip(piece, samples, strict=True):
            features[filled : filled + len(sample.places)] = sample.features
            filled += len(sample.places)
            cams.append(reader.cam_pixels(record, sample))
            image.append(torch.full((len(sample.places),), len(grids)))
            places.append(sample.places)
            grids.append(sample.grid)
            if (prior := reader.foreground(record, sample.grid)) is not None:
                foreground.append(prior.flatten()[sample.places.long()])
    means = _means(features)
    for part in features.split(ROWS):
        part.copy_(reader.directions(part, means))  # in place: there may be no memory for another
    records = [record for piece in pieces for record in piece]
    pixels = Pixels(
        directions=features,
        cams=torch.cat(cams),
        image=torch.cat(image),
        tags=reader.data.tag_matrix(records).bool(),
        foreground=torch.cat(foreground) if reader.cfg.saliency else None,
    )
    return Gathered(pixels, means, torch.cat(places), grids)


def _means(features: Tensor) -> Tensor:
    total = torch.zeros(features.shape[1], dtype=torch.float64)
    for part in features.split(ROWS):
        total += part.sum(dim=0, dtype=torch.float64)
    return (total / len(features)).float()
