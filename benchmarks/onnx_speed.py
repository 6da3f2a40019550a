"""How long ONNX Runtime takes for a photograph on the CPU, beside PyTorch.

    python benchmarks/onnx_speed.py

Writes benchmarks/results/onnx_speed.json. The networks are those of params.yaml and of the preset
voc12, with random weights, which cost as much as trained ones, on photographs of the embedded
sample as section `infer_seg` says. Both run in turns on one thread, and times are of the processor,
so that other work on the machine counts little; the ratio is the median over the turns. `network`
is one call of the network at scale 1, `predict` all that `rca.load(…).predict` does.
"""

from __future__ import annotations

import io
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from records import origin
from torch import Tensor

from rca import config
from rca.config import Params
from rca.data.archive import contents
from rca.data.palette import voc_palette
from rca.data.views import normalised
from rca.export.onnx_model import OnnxNetwork, require_packages, write_onnx
from rca.files import write_json
from rca.inference.model import SegmentationModel
from rca.inference.settings import Settings
from rca.models.deeplab import DeepLab

RECORD = Path("benchmarks/results/onnx_speed.json")
CLASSES = 20
SAMPLE = Path("data/embedded/voc12_animals_sample.tar")
CONFIGURATIONS = {"params.yaml": 8, "configs/voc12.yaml": 2}  # → photographs


def main() -> None:
    """Measure each configuration, and write the record."""
    require_packages()
    torch.set_num_threads(1)
    measured = {}
    for name, count in CONFIGURATIONS.items():
        measured[name] = measure(config.load(Path(name)), count)
        print(name, measured[name])
    write_json(RECORD, {"origin": {**origin(), **runtime()}, "networks": measured})


def measure(params: Params, count: int) -> dict[str, object]:
    """Seconds for a photograph with each, and their ratio: the network alone, and `predict`."""
    model = untrained(params)
    photographs = [
        Image.open(io.BytesIO(content)).convert("RGB")
        for _, content in islice(contents(SAMPLE, lambda name: name.endswith(".jpg")), count)
    ]
    images = [view(photograph, params.infer_seg.size) for photograph in photographs]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "network.onnx")
        write_onnx(file, model.network, {})
        exported = replace(model, network=OnnxNetwork(file, threads=1))
        with torch.inference_mode():
            network = compared(model.network, exported.network, images)
        whole = compared(model.predict, exported.predict, photographs)
    return {
        "backbone": params.train_seg.backbone.name,
        "stride": params.train_seg.backbone.stride,
        "inference": params.infer_seg.model_dump(),
        "photographs": count,
        "network": network,
        "predict": whole,
    }


def untrained(params: Params) -> SegmentationModel:
    """The network of `params` with random weights, as `rca.load` prepares it."""
    cfg = params.train_seg
    backbone = cfg.backbone.model_copy(update={"weights": "none"})
    cfg = cfg.model_copy(update={"backbone": backbone})
    torch.manual_seed(0)
    network = DeepLab(CLASSES, cfg).eval().to(memory_format=torch.channels_last)
    return SegmentationModel(
        network=network,
        classes=tuple(f"class {number}" for number in range(CLASSES)),
        cfg=cfg,
        settings=Settings(infer_seg=params.infer_seg, crf=params.crf),
        palette=voc_palette(),
        device=torch.device("cpu"),
        weights=Path("none"),
    )


def view(photograph: Image.Image, short_side: int) -> Tensor:
    """The photograph as the network sees it at scale 1, (1, 3, h, w)."""
    factor = short_side / min(photograph.size)
    small = photograph.resize([round(side * factor) for side in photograph.size])
    return normalised(small)[None].contiguous(memory_format=torch.channels_last)


def compared(
    torch_run: Callable[[Any], object], onnx_run: Callable[[Any], object], items: Sequence[Any]
) -> dict[str, float]:
    """Median seconds of each over the items, and of the ratio its median and range."""
    for run in (torch_run, onnx_run):
        run(items[0])
    pairs = [(seconds(torch_run, item), seconds(onnx_run, item)) for item in items]
    ratios = [second / first for first, second in pairs]
    return {
        "torch_seconds": round(statistics.median(first for first, _ in pairs), 4),
        "onnxruntime_seconds": round(statistics.median(second for _, second in pairs), 4),
        "ratio": round(statistics.median(ratios), 3),
        "ratio_from": round(min(ratios), 3),
        "ratio_to": round(max(ratios), 3),
    }


def seconds(run: Callable[[Any], object], item: object) -> float:
    """Processor time of one call."""
    start = time.process_time()
    run(item)
    return time.process_time() - start


def runtime() -> dict[str, str]:
    """The version of ONNX Runtime."""
    import onnxruntime

    return {"onnxruntime": onnxruntime.__version__}


if __name__ == "__main__":
    main()
