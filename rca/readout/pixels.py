"""The pixels of images for stage `readout`: their features, directions and samples."""

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
from rca.models.features import block_features
from rca.models.inference import for_inference
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
    """A reader of images' features and of all else that the prototypes are fitted to.

    Attributes:
        cfg: The section `readout`, with `blocks` filled in.
        backbone: The backbone of the CAM network.
        device: The device that the backbone runs on.
        cams: The CAM stores of `train` and `val`.
        widths: The number of channels of each block at each size.
        data: The index.
        rsa: RSA's prototypes, (L, K, D), the background's last, and their validity, (L, K), with
            `start: rsa`; None otherwise.
    """

    cfg: Readout
    backbone: Backbone
    device: torch.device
    cams: dict[str, CamStore]
    widths: list[int]
    data: Index
    rsa: tuple[Tensor, Tensor] | None = None

    def features(self, record: Record) -> Tensor:
        """Compute an image's features, all blocks and sizes concatenated, float16 (h, w, D)."""
        image = normalised(read_image(record.file)).to(self.device)
        assert self.cfg.blocks  # `make_reader` fills them in
        blocks = block_features(self.backbone, image, self.cfg.blocks, self.cfg.sizes)
        return torch.cat(blocks).movedim(0, -1).half()

    def directions(self, features: Tensor, means: Tensor) -> Tensor:
        """Compute `pixel_directions` of features, (…, D), given their means, (D,)."""
        return pixel_directions(features, means, self.widths)

    def start(self, means: Tensor) -> tuple[Tensor, Tensor] | None:
        """Convert RSA's prototypes to directions comparable to pixels', the background's first.

        Returns:
            The directions and their validity, or None without RSA's prototypes.
        """
        if self.rsa is None:
            return None
        prototypes, valid = (tensor.roll(1, dims=0) for tensor in self.rsa)
        # RSA has one size, so the same prototype stands for the block at every size.
        repeated = prototypes.repeat(1, 1, len(self.cfg.sizes))
        return self.directions(repeated, means), valid

    def classes(self, record: Record) -> Tensor:
        """Return the classes for which the CAM store has maps of an image, bool (C,)."""
        present = torch.zeros(len(self.data.classes), dtype=torch.bool)
        present[torch.from_numpy(self.cams[record.split].read(record.image)[0])] = True
        return present

    def cam_pixels(self, record: Record, sample: ImageSample) -> Tensor:
        """Read the CAMs at the sampled pixels, float16 (n, C); 0 for absent classes."""
        classes, cams = self.cams[record.split].read(record.image)
        pixels = torch.zeros(len(sample.places), len(self.data.classes), dtype=torch.float16)
        if len(classes):
            maps = _at_grid(torch.from_numpy(cams), sample.grid).flatten(1)
            pixels[:, torch.from_numpy(classes)] = maps[:, sample.places.long()].T.half()
        return pixels

    def foreground(self, record: Record, grid: tuple[int, int]) -> Tensor | None:
        """Compute each pixel's prior probability of foreground, float32 (h, w), from saliency.

        Returns:
            The probabilities, or None for validation images and without `readout.saliency`.
        """
        if not self.cfg.saliency or record.split != "train":
            return None
        saliency = _at_grid(torch.from_numpy(read_saliency(record))[None], grid)[0]
        return saliency * self.cfg.saliency_trust + (1 - self.cfg.saliency_trust) / 2


def _at_grid(maps: Tensor, grid: tuple[int, int]) -> Tensor:
    """Resample maps, (N, H, W), from 0 to 1, to another grid, (N, h, w)."""
    resized = F.interpolate(maps[None], grid, mode="bilinear", align_corners=False, antialias=True)
    return resized[0].clamp(0, 1)


def make_reader(
    cfg: Readout, data: Index, weights: Path, cams: Path, device: torch.device
) -> Reader:
    """Load the CAM network's backbone and the CAM stores.

    Args:
        cfg: The section `readout`.
        data: The index.
        weights: The file `weights.safetensors` of stage `train_cam`.
        cams: The folder of stage `infer_cam`.
        device: The device that the backbone runs on.

    Raises:
        ConfigError: The weights cannot be used, or the backbone has no such block.
    """
    network = load_network(weights, CamNetwork, TrainCam, data.classes, cfg.network_stride)
    backbone = for_inference(network.backbone, device)
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
    """Collect the settings of the method from the section `readout`."""
    return ReadoutSettings(
        **{field.name: getattr(cfg, field.name) for field in fields(ReadoutSettings)}
    )


def sample_pixels(
    reader: Reader, pieces: Sequence[Sequence[Record]], seed: int, folder: Path, shard: Shard
) -> list[Path]:
    """Sample pixels of the training images; write their features to one file per piece.

    Every image gives the same number of pixels at most, chosen so that those of all images fit
    into `memory_mb`; in a small data set these are all pixels. Images without tags give none.

    Args:
        reader: The reader of the features.
        pieces: The training images of each file.
        seed: The seed of every random choice.
        folder: The folder that gets the files.
        shard: The share of the files to write, where they are missing.

    Returns:
        The paths of all files, including those of other shards.
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
            # Without a tag the content is unknown, and no label can be learnt from it.
            count = most if record.tags else 0
            places = draw_pixels(grid, count, generator(seed, "readout", "pixels", record.image))
            kept = features.flatten(0, 1)[places.long().to(features.device)].cpu()
            samples[record.image] = ImageSample(kept, places, grid)
        write_sample(file, samples)
    return files


def pixels_an_image(cfg: Readout, widths: Sequence[int], images: int) -> int:
    """Compute how many pixels per image fit into `memory_mb` as float16 features, at least one."""
    return max(cfg.memory_mb * 10**6 // (2 * sum(widths)) // images, 1)


class Gathered(NamedTuple):
    """All sampled pixels of the training images, in memory.

    Attributes:
        pixels: The pixels that the prototypes are fitted to.
        means: The means of the features, float32 (D,).
        places: The position of each pixel in its image's grid, counted row by row, (N,).
        grids: The height and width of each of the I images' grids.
    """

    pixels: Pixels
    means: Tensor
    places: Tensor
    grids: list[tuple[int, int]]

    def spot(self, pixel: int) -> tuple[float, float]:
        """Compute a pixel's centre (x, y), as fractions of its image's width and height."""
        height, width = self.grids[int(self.pixels.image[pixel])]
        row, column = divmod(int(self.places[pixel]), width)
        return (column + 0.5) / width, (row + 0.5) / height


def gather_pixels(
    reader: Reader, pieces: Sequence[Sequence[Record]], files: Sequence[Path]
) -> Gathered:
    """Read the sampled pixels of all training images.

    Args:
        reader: The reader that computed the features.
        pieces: The training images of each file.
        files: The files that `sample_pixels` wrote.
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
        part.copy_(reader.directions(part, means))  # in place: a copy may not fit into memory
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
