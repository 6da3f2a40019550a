"""Speed of `rca predict`, compared with stage `infer_seg`, and its memory.

    python -m benchmarks.predict_speed        a few minutes on two cores; prints the figures
    python -m benchmarks.predict_speed --record          and records them

The network has the architecture that params.yaml trains, and random weights: training changes
neither time nor memory. Both ways segment the 80 validation photographs of the embedded sample with
the settings of params.yaml, in turns, and must write the same bytes. Memory is the peak of a
separate process: for 100 and for 2,000 photographs (links to the sample's, without CRF and at a
quarter of the size, to save time), and for one photograph of 8000 × 6000 pixels with CRF.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.records import origin
from rca import cli, config
from rca.config import Params
from rca.data.index import read_index
from rca.inference.folder import Wanted, predict_folder
from rca.inference.model import load
from rca.models.deeplab import DeepLab
from rca.models.weights import save_weights
from rca.runtime.files import write_json
from rca.stages import download, index, infer_seg

PARAMS = Path("params.yaml")
RECORD = Path("benchmarks/results/predict_speed.json")
ROUNDS = 2
COUNTS = (100, 2000)
LARGE = (8000, 6000)
LABELS = {"sample": 7, "voc12": 21}


def prepare(params: Params, folder: Path) -> list[Path]:
    """Make the sample's index, and weights for 7 and for 21 labels; return the photographs."""
    download.run(params.download, out=folder / "data")
    index.run(params.index, data=folder / "data", out=folder / "index")
    data = read_index(folder / "index")
    torch.manual_seed(0)
    for name, labels in LABELS.items():
        names = data.classes if name == "sample" else tuple(f"c{n}" for n in range(1, labels))
        network = DeepLab(labels - 1, params.train_seg)
        save_weights(folder / f"{name}.safetensors", network, names, params.train_seg)
    return [record.file for record in data.records]


def compare_speed(folder: Path) -> dict[str, float]:
    """Measure the photographs per second of both ways, the best of several rounds each."""
    params = config.load(PARAMS)
    records = read_index(folder / "index").split("val")
    weights = folder / "sample.safetensors"
    listed = folder / "val.txt"
    listed.write_text("".join(f"{record.file.resolve()}\n" for record in records))

    def stage() -> Path:
        out = folder / "stage"
        infer_seg.run(
            params.infer_seg,
            params.crf,
            params.compute,
            index=folder / "index",
            weights=weights,
            out=out,
            state=folder / "state",
        )
        return out

    def predict() -> Path:
        out = folder / f"predict{time.monotonic_ns()}"
        model = load(weights, params=PARAMS, threads=params.compute.threads)
        predict_folder(model, [str(listed)], out, Wanted(), params.crf.processes)
        return out / "masks"

    seconds: dict[str, list[float]] = {"infer_seg": [], "predict": []}
    for turn in range(ROUNDS):
        ways: list[tuple[str, Callable[[], Path]]] = [("infer_seg", stage), ("predict", predict)]
        for name, way in ways if turn % 2 == 0 else ways[::-1]:
            start = time.perf_counter()
            out = way()
            seconds[name].append(time.perf_counter() - start)
            kept = folder / name
            kept.unlink(missing_ok=True)
            kept.symlink_to(out)
    names = [f"{record.image}.png" for record in records]
    same, *_ = filecmp.cmpfiles(folder / "infer_seg", folder / "predict", names, shallow=False)
    assert len(same) == len(records), "the two ways differ in their masks"
    rates = {name: len(records) / min(taken) for name, taken in seconds.items()}
    return {
        "photographs": len(records),
        **{f"{name}_per_second": round(rate, 2) for name, rate in rates.items()},
        "ratio": round(rates["predict"] / rates["infer_seg"], 2),
    }


def many(folder: Path, files: list[Path], count: int) -> list[str]:
    """Link `count` photographs into a folder; return arguments that segment it quickly."""
    links = folder / f"links{count}"
    links.mkdir()
    for number in range(count):
        os.link(files[number % len(files)], links / f"{number:05d}.jpg")
    return [str(links), "--weights", str(folder / "sample.safetensors"), "--no-crf", "--size", "60"]


def large(folder: Path, file: Path, labels: str) -> list[str]:
    """Make a photograph of 48 million pixels with camera noise; return arguments for it."""
    path = folder / "large.jpg"
    if not path.exists():
        image = Image.open(file).convert("RGB").resize(LARGE, Image.Resampling.BICUBIC)
        pixels = np.asarray(image, np.int16)
        noise = np.random.default_rng(0).integers(-8, 9, pixels.shape, np.int16)
        Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8)).save(path, quality=92)
    return [str(path), "--weights", str(folder / f"{labels}.safetensors"), "--crf", "--confidence"]


def peak_of(folder: Path, arguments: list[str]) -> dict[str, float]:
    """Measure the peak memory in GB and the seconds of `rca predict` without worker processes."""
    out = folder / f"peak{time.monotonic_ns()}"
    more = ["--out", str(out), "--processes", "1", "--threads", "1"]
    sys.argv = ["rca", "predict", *arguments, *more]
    start = time.perf_counter()
    cli.app(standalone_mode=False)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    return {"peak_gb": round(peak, 2), "seconds": round(seconds, 1)}


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


def measure() -> dict[str, object]:
    """Measure all figures."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        files = prepare(config.load(PARAMS), folder)
        found: dict[str, object] = {"speed": apart(compare_speed, folder)}
        print(found, flush=True)
        for count in COUNTS:
            peak = apart(peak_of, folder, many(folder, files, count))
            found[f"{count} photographs"] = peak
            print(count, peak, flush=True)
        for name, labels in LABELS.items():
            peak = apart(peak_of, folder, large(folder, files[0], name))
            found[f"{LARGE[0]} × {LARGE[1]}, {labels} labels, CRF"] = peak
            print(labels, peak, flush=True)
    return found


def main() -> None:
    """Measure, print, and record on request."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--record", action="store_true")
    chosen = options.parse_args()
    found = measure()
    if chosen.record:
        write_json(RECORD, {**found, **origin()})


if __name__ == "__main__":
    main()
