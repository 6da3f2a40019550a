"""How long ONNX Runtime takes for a photograph on the CPU, compared with PyTorch.

    python -m benchmarks.onnx_speed

Writes benchmarks/results/onnx_speed.json. The networks are those of params.yaml and of the preset
voc12, with random weights, which cost as much as trained ones. They segment photographs of the
embedded sample at the size of section `infer_seg`. Both run in turns on one thread, and times are
CPU times, so that other work on the machine counts little. The ratio is the median over the turns.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from rca import config
from rca.config import Params
from rca.export.agreement import read_photographs
from rca.export.onnx_model import require_packages, write_onnx
from rca.inference.onnx_network import OnnxNetwork
from rca.models.deeplab import DeepLab
from rca.runtime.files import write_json
from tools.records import origin

RECORD = Path("benchmarks/results/onnx_speed.json")
CLASSES = 20
SAMPLE = Path("data/embedded/voc12_animals_sample.tar")
CONFIGURATIONS = {"params.yaml": 24, "configs/voc12.yaml": 4}  # → number of photographs


def main() -> None:
    """Measure each configuration, and write the record."""
    require_packages()
    torch.set_num_threads(1)
    measured = {
        name: measure(config.load(Path(name)), count) for name, count in CONFIGURATIONS.items()
    }
    for name, result in measured.items():
        print(name, result)
    write_json(RECORD, {"origin": {**origin(), **runtime()}, "networks": measured})


def measure(params: Params, count: int) -> dict[str, object]:
    """Measure the seconds for a photograph with each, and their ratio."""
    cfg = params.train_seg
    backbone = cfg.backbone.model_copy(update={"weights": "none"})
    torch.manual_seed(0)
    network = DeepLab(CLASSES, cfg.model_copy(update={"backbone": backbone}))
    # As trained; `rca predict` runs it faster (benchmarks/inference_speed.py).
    network = network.eval().to(memory_format=torch.channels_last)
    images = [resized(image, params.infer_seg.size) for image in read_photographs(SAMPLE, count)]
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        file = Path(folder, "network.onnx")
        with torch.inference_mode(mode=False):
            write_onnx(file, network, {})
        exported = OnnxNetwork(file, threads=1)
        for run in (network, exported):
            run(images[0])
        pairs = [(seconds(network, image), seconds(exported, image)) for image in images]
    return {
        "backbone": cfg.backbone.name,
        "stride": cfg.backbone.stride,
        "short_side": params.infer_seg.size,
        "photographs": count,
        "torch_seconds": round(statistics.median(first for first, _ in pairs), 4),
        "onnxruntime_seconds": round(statistics.median(second for _, second in pairs), 4),
        "ratio": round(statistics.median(second / first for first, second in pairs), 3),
        "ratio_from": round(min(second / first for first, second in pairs), 3),
        "ratio_to": round(max(second / first for first, second in pairs), 3),
    }


def resized(image: Tensor, short_side: int) -> Tensor:
    """Resize an image to that short side, as a batch of one, (1, 3, h, w)."""
    factor = short_side / min(image.shape[-2:])
    size = tuple(round(side * factor) for side in image.shape[-2:])
    resized = F.interpolate(image[None], size, mode="bilinear", antialias=True)
    return resized.contiguous(memory_format=torch.channels_last)


def seconds(run: Callable[[Tensor], Tensor], images: Tensor) -> float:
    """Measure the CPU time of one call."""
    start = time.process_time()
    run(images)
    return time.process_time() - start


def runtime() -> dict[str, str]:
    """Return the version of ONNX Runtime."""
    import onnxruntime

    return {"onnxruntime": onnxruntime.__version__}


if __name__ == "__main__":
    main()
