"""What makes inference on the CPU faster, measured in turns on the networks of a finished run.

    python -m benchmarks.inference_speed            after `make demo`; ten minutes on a quiet core

Writes benchmarks/results/inference_speed.json.

1. `network`: ways to run the segmentation network on the views that `infer_seg` makes of a
   photograph. `plain` is the trained network in channels-last format. `share_equal` is the share of
   pixels with the label that `plain` gives. For a batch, it compares the same crops.
2. `stages`: what the stages compute for a photograph, without writing: with the network as trained,
   and as `for_inference` prepares it. With `infer_cam`, the plain way computes the coarse maps too,
   and asks for the classes of a validation image with a forward pass of its own.
3. `make_cam`: the CAMs of a training image at four scales with flips, by `image_cams` and by a loop
   such as IRN's: one photograph at a time, resized on its own, the sums of the maps enlarged to a
   quarter of its size and to all of it.

Times are CPU times of the process, in turns photograph by photograph after a warm-up, so that other
work on the machine counts little. Ratios are medians over the photographs; below 1 is faster.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from rca import config
from rca.config import InferCam, Params, TrainCam, TrainSeg
from rca.data.images import read_image
from rca.data.index import Index, Record, read_index
from rca.data.views import normalised
from rca.export.onnx_model import write_onnx
from rca.inference.onnx_network import OnnxNetwork
from rca.inference.probabilities import class_probabilities
from rca.models.cam_network import CamNetwork
from rca.models.deeplab import DeepLab
from rca.models.device import placed
from rca.models.features import block_features
from rca.models.found_classes import predicted_classes
from rca.models.inference import fold_batch_norm, for_inference
from rca.models.multiscale import once_for_each_size
from rca.models.weights import load_network
from rca.runtime.files import write_json
from rca.stages.infer_cam import image_cams
from tools.records import origin

RECORD = Path("benchmarks/results/inference_speed.json")
TRAINED = ("train_seg/pseudo", "train_cam")
CPU = torch.device("cpu")
TOGETHER = 8  # photographs in a batch
BACKGROUND = 0.25  # the level at which CAMs become labels, to compare them

Way = Callable[[Tensor], Tensor]


def in_turns(
    ways: dict[str, Callable[[Any], Any]], inputs: Sequence[Any]
) -> dict[str, list[float]]:
    """Measure each way's CPU seconds on each input, in turns, after a warm-up on the first two."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    warming = inputs[:2]
    for number, value in enumerate([*warming, *inputs]):
        for name, way in ways.items():
            begun = time.process_time()
            way(value)
            if number >= len(warming):
                seconds[name].append(time.process_time() - begun)
    return seconds


def summary(seconds: dict[str, list[float]], base: str) -> dict[str, dict[str, float]]:
    """Summarise the times of each way, and their ratios to those of `base`."""
    return {
        name: {
            "milliseconds": round(1000 * median(taken), 1),
            "ratio": round(median(a / b for a, b in zip(taken, seconds[base], strict=True)), 3),
        }
        for name, taken in seconds.items()
    }


def views_of(record: Record, size: int) -> Tensor:
    """Make the views of a photograph, plain and mirrored, (2, 3, h, w), channels last."""
    image = normalised(read_image(record.file))[None]
    factor = size / min(image.shape[-2:])
    shape = tuple(round(side * factor) for side in image.shape[-2:])
    view = F.interpolate(image, shape, mode="bilinear", antialias=True)
    return torch.cat([view, view.flip(-1)]).contiguous(memory_format=torch.channels_last)


def network_ways(network: DeepLab, example: Tensor, folder: Path) -> dict[str, Way]:
    """Build every way to run the segmentation network; `plain` is the network as trained."""
    plain = placed(copy.deepcopy(network), CPU)
    batch_norm_folded = copy.deepcopy(network)
    fold_batch_norm(batch_norm_folded)
    batch_norm_folded = placed(batch_norm_folded, CPU)
    ready = for_inference(network, CPU)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated
        frozen = torch.jit.freeze(torch.jit.trace(plain, example, check_trace=False))
        optimised = torch.jit.optimize_for_inference(frozen)
    write_onnx(folder / "network.onnx", network, {})

    def half(views: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return batch_norm_folded(views)

    return {
        "plain": plain,
        "plain, contiguous": lambda views: plain(views.contiguous()),
        "plain, without a batch of both": lambda views: torch.cat(
            [plain(v) for v in views.split(1)]
        ),
        "batch norm folded": batch_norm_folded,
        "for_inference": ready,
        "batch norm folded, bfloat16": half,
        "torch.jit.freeze": frozen,
        "torch.jit.optimize_for_inference": optimised,
        "onnxruntime": OnnxNetwork(folder / "network.onnx", threads=torch.get_num_threads()),
    }


def equal_share(one: Sequence[Tensor], two: Sequence[Tensor]) -> float:
    """Compute the share of equal values in two lists of tensors."""
    equal = sum(int((a == b).sum()) for a, b in zip(one, two, strict=True))
    return round(equal / sum(a.numel() for a in one), 6)


def measure_network(network: DeepLab, records: Sequence[Record], size: int) -> dict[str, Any]:
    """Measure each way to run the segmentation network, and how its labels differ."""
    inputs = [views_of(record, size) for record in records]
    with tempfile.TemporaryDirectory() as folder:
        ways = network_ways(network, inputs[0], Path(folder))
        with torch.inference_mode():
            found = summary(in_turns(ways, inputs), "plain")
            labels = {
                name: [way(views).argmax(1) for views in inputs] for name, way in ways.items()
            }
            for name in ways:
                found[name]["share_equal"] = equal_share(labels["plain"], labels[name])
            found["for_inference, 8 photographs"] = measure_batch(network, inputs)
    return found


def measure_batch(network: DeepLab, inputs: Sequence[Tensor]) -> dict[str, float]:
    """Measure `for_inference` on batches of photographs, cropped to one size."""
    ready, plain = for_inference(network, CPU), placed(copy.deepcopy(network), CPU)
    height, width = (min(views.shape[side] for views in inputs) for side in (2, 3))
    cropped = [views[..., :height, :width] for views in inputs]
    groups = [cropped[n : n + TOGETHER] for n in range(0, len(cropped), TOGETHER)]
    ways = {
        "plain": lambda group: torch.cat([plain(views.contiguous()) for views in group]),
        "batch": lambda group: ready(
            torch.cat(group).contiguous(memory_format=torch.channels_last)
        ),
    }
    found = summary(in_turns(ways, groups), "plain")["batch"]
    found["milliseconds"] = round(found["milliseconds"] / TOGETHER, 1)
    labels = [[way(group).argmax(1) for group in groups] for way in ways.values()]
    return {**found, "share_equal": equal_share(*labels)}


def cam_labels(cams: tuple[Any, Any]) -> Tensor:
    """Make labels of CAMs: the highest above `BACKGROUND`."""
    maps = torch.from_numpy(cams[1])
    return torch.cat([torch.full_like(maps[:1], BACKGROUND), maps]).argmax(0)


def cam_ways(
    trained: CamNetwork, data: Index, cfg: InferCam
) -> dict[str, Callable[[Record], tuple[Any, Any]]]:
    """Build the plain and the present way to the CAMs of a photograph."""
    plain, ready = placed(copy.deepcopy(trained), CPU), for_inference(trained, CPU)

    def cams(record: Record, final_maps: Way) -> tuple[Any, Any]:
        image = normalised(read_image(record.file))
        if record.split == "train":
            present = data.tag_vector(record)
        else:
            present = predicted_classes(final_maps, image, cfg)
        return image_cams(final_maps, image, present, (record.height, record.width), cfg)

    return {
        "plain": lambda record: cams(record, lambda views: plain(views).final),
        "for_inference": lambda record: cams(record, once_for_each_size(ready.final_maps)),
    }


def measure_stages(
    network: DeepLab, trained: CamNetwork, data: Index, params: Params, count: int
) -> dict[str, Any]:
    """Measure what each stage computes for a photograph, the plain way and the present one."""
    found: dict[str, Any] = {}

    def labels(net: DeepLab, record: Record) -> Tensor:
        image = read_image(record.file)
        return torch.from_numpy(class_probabilities(net, image, params.infer_seg, CPU).argmax(0))

    def features(net: CamNetwork, record: Record) -> Tensor:
        blocks = params.readout.blocks or [len(net.backbone) - 1]
        image = normalised(read_image(record.file))
        return torch.cat(block_features(net.backbone, image, blocks, params.readout.sizes)).half()

    nets = {
        "plain": (placed(copy.deepcopy(network), CPU), placed(copy.deepcopy(trained), CPU)),
        "for_inference": (for_inference(network, CPU), for_inference(trained, CPU)),
    }
    cams = cam_ways(trained, data, params.infer_cam)
    stages: dict[str, tuple[str, dict[str, Callable[[Record], Any]]]] = {
        "infer_seg": ("val", {n: partial(labels, net) for n, (net, _) in nets.items()}),
        "infer_cam, validation image": ("val", cams),
        "infer_cam, training image": ("train", cams),
        "readout, features": ("train", {n: partial(features, net) for n, (_, net) in nets.items()}),
    }
    for stage, (split, ways) in stages.items():
        records = data.split(split)[:count]
        found[stage] = summary(in_turns(ways, records), "plain")
        results = [[way(record) for record in records] for way in ways.values()]
        if stage.startswith("infer_cam"):
            results = [[cam_labels(cams) for cams in way] for way in results]
        if not stage.startswith("readout"):  # features are no labels
            found[stage]["share_equal"] = equal_share(*results)
    return found


def make_cam(network: nn.Module, record: Record, present: Tensor, cfg: InferCam) -> list[Tensor]:
    """Compute CAMs by a loop such as IRN's: at a quarter of the photograph's size, and at all."""
    photograph = read_image(record.file)
    full = (record.height, record.width)
    quarter = (-(-record.height // 4), -(-record.width // 4))
    factor = cfg.size / min(full)
    small, large = torch.zeros(1), torch.zeros(1)
    for scale in cfg.scales:
        width, height = (round(side * factor * scale) for side in (record.width, record.height))
        view = normalised(photograph.resize((width, height), Image.Resampling.BICUBIC))
        with torch.no_grad():
            maps = network(torch.stack([view, view.flip(-1)])).final.relu()
        maps = (maps[0] + maps[1].flip(-1))[None]
        small = small + F.interpolate(maps, quarter, mode="bilinear", align_corners=False)
        large = large + F.interpolate(maps, full, mode="bilinear", align_corners=False)
    kept = [maps[0, present.bool()] for maps in (small, large)]
    return [maps / maps.amax((1, 2), keepdim=True).clamp_min(1e-5) for maps in kept]


def measure_make_cam(trained: CamNetwork, data: Index, cfg: InferCam, count: int) -> dict[str, Any]:
    """Measure `image_cams` and the loop, on training images at four scales with flips."""
    cfg = cfg.model_copy(update={"scales": [1.0, 0.5, 1.5, 2.0], "flip": True})
    ours = cam_ways(trained, data, cfg)
    ways: dict[str, Callable[[Record], Any]] = {
        "make_cam": lambda record: make_cam(trained, record, data.tag_vector(record), cfg),
        **{f"image_cams, {name}": way for name, way in ours.items()},
    }
    return summary(in_turns(ways, data.split("train")[:count]), "make_cam")


def main() -> None:
    """Measure and write the record."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--results", type=Path, default=Path("results/demo"))
    options.add_argument("--params", type=Path, default=Path("params.yaml"))
    options.add_argument("--photographs", type=int, default=16)
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--out", type=Path, default=RECORD)
    asked = options.parse_args()
    torch.set_num_threads(asked.threads)
    params = config.load(asked.params)
    data = read_index(asked.results / "index")
    files = [asked.results / name / "weights.safetensors" for name in TRAINED]
    network = load_network(files[0], DeepLab, TrainSeg, data.classes)
    stride = params.infer_cam.network_stride
    trained = load_network(files[1], CamNetwork, TrainCam, data.classes, stride)
    count = asked.photographs
    record: dict[str, Any] = {
        "protocol": "CPU seconds of the process, in turns photograph by photograph",
        "threads": asked.threads,
        "photographs": count,
        **origin(),
        "onnxruntime": version("onnxruntime"),
        "network": measure_network(network, data.split("val")[:count], params.infer_seg.size),
    }
    print(record["network"], flush=True)
    record["stages"] = measure_stages(network, trained, data, params, count)
    print(record["stages"], flush=True)
    record["make_cam"] = measure_make_cam(trained, data, params.infer_cam, count)
    print(record["make_cam"], flush=True)
    write_json(asked.out, record)


if __name__ == "__main__":
    main()
