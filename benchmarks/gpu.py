"""All measurements that need a GPU, in one command of a few minutes; no internet, no data set.

    python -m benchmarks.gpu                on the GPU; without one on the CPU, at tiny sizes
    python -m benchmarks.gpu --quick        at tiny sizes, to see that it works

All networks start from random weights. The parts are: a step of the paper's preset (368 × 368,
VGG16, stride 8) at batch 8 and 16, in float32 and bfloat16, compiled and not; RCA compared with the
plain classifier; K-means; determinism on and off; NCCL with one process; `infer_cam`, the prototype
readout and the CRF on synthetic photographs; and a training that is killed and resumed. A part that
fails is recorded with its error, and the others still run. Parts that would start after `--minutes`
are left out.

Writes benchmarks/results/gpu.json after each part, and prints a table.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# cuBLAS needs this set before it is loaded, for its deterministic algorithms.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import torch

from benchmarks import gpu_stages, gpu_steps
from rca.data.nested import flat
from rca.runtime.files import write_json
from rca.runtime.text_table import aligned
from rca.tracking import machine
from tools.records import origin

RECORD = Path("benchmarks/results/gpu.json")
VOC = (500, 375)  # pixels of a photograph

Part = Callable[[], Any]


def parts(device: torch.device, quick: bool, folder: Path) -> dict[str, Part]:
    """List the measurements by name, the most important first."""
    size = gpu_steps.QUICK if quick else gpu_steps.Size()
    preset, images, pixels = ("debug", 12, (64, 48)) if quick else ("voc12", 24, VOC)
    return {
        "step": lambda: gpu_steps.steps(size, device),
        "method": lambda: gpu_steps.method(size, device),
        "determinism": lambda: gpu_steps.determinism(size, device),
        "one_process": lambda: gpu_steps.one_process(size, device),
        "prototypes": lambda: gpu_steps.prototypes(size, device),
        "stages": lambda: gpu_stages.inference(folder, device, preset, images, pixels),
        "resume": lambda: gpu_stages.resume(folder, device),
        # Last, because it takes minutes.
        **({} if quick else {"compiled": lambda: gpu_steps.compiled(size, device)}),
    }


def measured(part: Part) -> Any:
    """Run a part; return its results, or its error if it fails, and how long it took."""
    began = time.perf_counter()
    try:
        found = part()
    except Exception as error:  # one part must not stop the others
        found = {"failed": f"{type(error).__name__}: {[*str(error).splitlines(), ''][0]}"}
    return {**found, "took_seconds": round(time.perf_counter() - began, 1)}


def table(record: dict[str, Any]) -> str:
    """Render the record as text, one line for each figure."""
    return aligned(
        [
            (key, f"{value:.4g}" if isinstance(value, float) else str(value))
            for key, value in flat(record["parts"])
        ]
    )


def main() -> None:
    """Measure part after part, record each, and print the table."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--quick", action="store_true", help="tiny sizes")
    options.add_argument("--device", choices=("cuda", "cpu"), help="the GPU where there is one")
    options.add_argument("--minutes", type=float, default=5, help="begin nothing later (5)")
    options.add_argument("--only", nargs="+", metavar="PART", help="these parts alone")
    options.add_argument("--out", type=Path, default=RECORD)
    asked = options.parse_args()
    name = asked.device or ("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name, 0) if name == "cuda" else torch.device(name)
    quick = asked.quick or name == "cpu"
    until = time.monotonic() + 60 * asked.minutes
    record: dict[str, Any] = {
        "protocol": "median wall-clock seconds after a warm-up, the device synchronised; random "
        "weights and images; memory is the peak that torch allocated",
        "quick": quick,
        "device": name,
        **machine.describe(gpus=name == "cuda"),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "tf32_in_convolutions": torch.backends.cudnn.allow_tf32,
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        **origin(),
        "parts": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        for part, work in parts(device, quick, Path(folder)).items():
            if asked.only and part not in asked.only:
                continue
            late = time.monotonic() > until
            record["parts"][part] = {"failed": "no time left"} if late else measured(work)
            print(f"{part}: {record['parts'][part]['took_seconds'] if not late else 'left out'}")
            write_json(asked.out, record)
            if name == "cuda":
                torch.cuda.empty_cache()
    print(table(record))


if __name__ == "__main__":
    main()
