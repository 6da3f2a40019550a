"""Speed of `rca predict`, with PyTorch and ONNX Runtime, compared with `infer_seg`; its memory.

    python -m benchmarks.predict_speed        a few minutes on two cores; prints the figures
    python -m benchmarks.predict_speed --record          and records them

The network has the architecture that params.yaml trains, and random weights: training changes
neither time nor memory, except that the CRF then has fewer labels to choose from. All ways segment
the 80 validation photographs of the embedded sample with the settings of params.yaml, without and
with the CRF, in turns. With the weights, `rca predict` must write the bytes of `infer_seg`; with an
ONNX file of them, the share of equal pixels is recorded. Memory is the peak of a separate process:
for 100 and for 10,000 photographs (links to the sample's, without CRF and at a quarter of the size,
to save time), for 100 and 2,000 with the ONNX file, and for one photograph of 8000 × 6000 pixels
with CRF.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from rca import cli, config
from rca.config import Params
from rca.data.index import read_index
from rca.export.description import as_text, describe
from rca.export.onnx_model import write_onnx
from rca.inference.folder import Wanted, predict_folder
from rca.inference.model import load
from rca.models.deeplab import DeepLab
from rca.models.weights import save_weights
from rca.runtime.files import write_json
from rca.stages import download, index, infer_seg
from tools.records import origin, peak_memory, place_tables

PARAMS = Path("params.yaml")
RECORD = Path("benchmarks/results/predict_speed.json")
PAGE = Path("docs/guides/predict.md")
ROUNDS = 2
COUNTS = {"safetensors": (100, 10_000), "onnx": (100, 2_000)}
LARGE = (8000, 6000)
LABELS = {"sample": 7, "voc12": 21}


def prepare(params: Params, folder: Path) -> list[Path]:
    """Make the sample's index, and networks of 7 and of 21 labels; return the photographs."""
    download.run(params.download, out=folder / "data")
    index.run(params.index, data=folder / "data", out=folder / "index")
    data = read_index(folder / "index")
    torch.manual_seed(0)
    for name, labels in LABELS.items():
        names = data.classes if name == "sample" else tuple(f"c{n}" for n in range(1, labels))
        network = DeepLab(labels - 1, params.train_seg)
        weights = weights_of(folder, name)
        weights.parent.mkdir(parents=True)
        save_weights(weights, network, names, params.train_seg)
        description = as_text(describe(load(weights, PARAMS, device="cpu"), "float32"))
        write_onnx(weights.with_suffix(".onnx"), network.eval(), description)
    return [record.file for record in data.records]


def weights_of(folder: Path, name: str, kind: str = "safetensors") -> Path:
    """Return the path of a network: where a run has it, so that its colours are the run's."""
    return folder / "train_seg" / name / f"weights.{kind}"


def compare_speed(folder: Path, crf: bool) -> dict[str, float]:
    """Measure the photographs per second of each way, the best of several rounds."""
    params = config.load(PARAMS)
    settings = params.infer_seg.model_copy(update={"crf": crf})
    records = read_index(folder / "index").split("val")
    weights = weights_of(folder, "sample")
    listed = folder / "val.txt"
    listed.write_text("".join(f"{record.file.resolve()}\n" for record in records))

    def stage() -> Path:
        out = folder / f"stage{time.monotonic_ns()}"
        infer_seg.run(
            settings,
            params.crf,
            params.compute,
            index=folder / "index",
            weights=weights,
            out=out,
            state=folder / "state",
        )
        return out

    def predict(file: Path) -> Path:
        out = folder / f"predict{time.monotonic_ns()}"
        model = load(file, params=PARAMS, threads=params.compute.threads, crf=crf)
        predict_folder(model, [str(listed)], out, Wanted(), params.crf.processes)
        return out / "masks"

    ways: dict[str, Callable[[], Path]] = {
        "infer_seg": stage,
        "predict": partial(predict, weights),
        "predict_onnx": partial(predict, weights.with_suffix(".onnx")),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    masks: dict[str, Path] = {}
    for turn in range(ROUNDS):
        for name in list(ways) if turn % 2 == 0 else reversed(ways):
            start = time.perf_counter()
            masks[name] = ways[name]()
            seconds[name].append(time.perf_counter() - start)
    names = [f"{record.image}.png" for record in records]
    same, *_ = filecmp.cmpfiles(masks["infer_seg"], masks["predict"], names, shallow=False)
    assert len(same) == len(records), "the two ways differ in their masks"
    rates = {name: len(records) / min(taken) for name, taken in seconds.items()}
    return {
        "photographs": len(records),
        **{f"{name}_per_second": round(rate, 2) for name, rate in rates.items()},
        "share_equal_onnx": equal_pixels(masks["infer_seg"], masks["predict_onnx"], names),
    }


def equal_pixels(one: Path, other: Path, names: list[str]) -> float:
    """Compute the share of pixels with the same label in two folders of masks."""
    pairs = [[np.asarray(Image.open(place / name)) for place in (one, other)] for name in names]
    equal = sum(int((first == second).sum()) for first, second in pairs)
    return round(equal / sum(first.size for first, _ in pairs), 6)


def many(folder: Path, files: list[Path], count: int, kind: str) -> list[str]:
    """Link `count` photographs into a folder; return arguments that segment it quickly.

    A quarter of the size that the demo segments at would be 60 pixels; ONNX files take 64.
    """
    links = folder / f"links{count}"
    links.mkdir(exist_ok=True)
    for number in range(count):
        link = links / f"{number:05d}.jpg"
        link.unlink(missing_ok=True)
        os.link(files[number % len(files)], link)
    weights = weights_of(folder, "sample", kind)
    return [str(links), "--weights", str(weights), "--no-crf", "--size", "64"]


def large(folder: Path, file: Path, labels: str) -> list[str]:
    """Make a photograph of 48 million pixels with camera noise; return arguments for it."""
    path = folder / "large.jpg"
    if not path.exists():
        image = Image.open(file).convert("RGB").resize(LARGE, Image.Resampling.BICUBIC)
        pixels = np.asarray(image, np.int16)
        noise = np.random.default_rng(0).integers(-8, 9, pixels.shape, np.int16)
        Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8)).save(path, quality=92)
    return [str(path), "--weights", str(weights_of(folder, labels)), "--crf", "--confidence"]


def peak_of(folder: Path, arguments: list[str]) -> dict[str, float]:
    """Measure the peak memory in GB and the seconds of `rca predict` without worker processes."""
    out = folder / f"peak{time.monotonic_ns()}"
    more = ["--out", str(out), "--processes", "1", "--threads", "1"]
    sys.argv = ["rca", "predict", *arguments, *more]
    start = time.perf_counter()
    cli.app(standalone_mode=False)
    seconds = time.perf_counter() - start
    return {"peak_gb": round(peak_memory() / 1000, 2), "seconds": round(seconds, 1)}


def apart(function: Callable[..., dict[str, float]], *arguments: object) -> dict[str, float]:
    """Run a function of this module in a separate process, and return its result.

    The process is started with `-c`. If this module were the process's main module, worker
    processes would import it, and torch with it, which those of `rca` do without.
    """
    given = json.dumps(arguments, default=str)
    code = (
        "import json, sys; from pathlib import Path; from benchmarks import predict_speed as own\n"
        "folder, *more = json.loads(sys.argv[1])\n"
        f"print(json.dumps(own.{function.__name__}(Path(folder), *more)))"
    )
    command = [sys.executable, "-c", code, given]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure() -> dict[str, Any]:
    """Measure all figures."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        files = prepare(config.load(PARAMS), folder)
        speed = [{"crf": crf, **apart(compare_speed, folder, crf)} for crf in (False, True)]
        print(*speed, sep="\n", flush=True)
        memory = []
        for kind, counts in COUNTS.items():
            for count in counts:
                peak = apart(peak_of, folder, many(folder, files, count, kind))
                memory.append({"photographs": count, "weights": kind, **peak})
                print(memory[-1], flush=True)
        for name, labels in LABELS.items():
            peak = apart(peak_of, folder, large(folder, files[0], name))
            memory.append({"photographs": 1, "size": LARGE, "labels": labels, "crf": True, **peak})
            print(memory[-1], flush=True)
    return {"speed": speed, "memory": memory}


def table(speed: list[dict[str, float]]) -> str:
    """Format the speeds as a Markdown table."""
    ways = {
        "infer_seg": "stage `infer_seg`",
        "predict": "`rca predict`, the network's weights",
        "predict_onnx": "`rca predict`, its ONNX file",
    }
    lines = ["| photographs per second | without CRF | ratio | with CRF | ratio |"]
    lines.append("|---|---:|---:|---:|---:|")
    for name, title in ways.items():
        rates = [(one[f"{name}_per_second"], one["infer_seg_per_second"]) for one in speed]
        cells = " | ".join(f"{rate:.1f} | {rate / stage:.2f}" for rate, stage in rates)
        lines.append(f"| {title} | {cells} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print, and record on request."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--record", action="store_true")
    chosen = options.parse_args()
    found = measure()
    print(table(found["speed"]))
    if chosen.record:
        write_json(RECORD, {**origin(), **found})
        place_tables(PAGE, {str(RECORD): table(found["speed"])})


if __name__ == "__main__":
    main()
