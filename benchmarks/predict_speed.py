"""Speed of `rca predict` beside stage `infer_seg`, and its memory.

    python -m benchmarks.predict_speed        some minutes on two cores; prints the figures
    python -m benchmarks.predict_speed --record          and records them

The network has the form that params.yaml trains, and random weights: what was learnt changes
neither time nor memory. Both ways segment the 80 validation photographs of the embedded sample
under the settings of params.yaml, by turns, and must write the same bytes. Memory is the peak of a
process of its own: for 100 and for 2,000 photographs (links to the sample's, without CRF, at a
quarter of the size, for time's sake), and for one photograph of 8000 × 6000 with CRF.
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
from rca import config
from rca.config import Params
from rca.data.index import Index, Record, read_index
from rca.files import write_json
from rca.inference.folder import Wanted, predict_folder
from rca.inference.model import load
from rca.models.deeplab import DeepLab
from rca.models.weights import save_weights
from rca.stages import download, index, infer_seg

PARAMS = Path("params.yaml")
RECORD = Path("benchmarks/results/predict_speed.json")
ROUNDS = 2
COUNTS = (100, 2000)
LARGE = (8000, 6000)
LABELS = {"sample": 7, "voc12": 21}


def prepare(params: Params, folder: Path) -> Index:
    """The sample with its index, and weights of seven and of 21 labels."""
    download.run(params.download, out=folder / "data")
    index.run(params.index, data=folder / "data", out=folder / "index")
    data = read_index(folder / "index")
    torch.manual_seed(0)
    for name, labels in LABELS.items():
        names = data.classes if name == "sample" else tuple(f"c{n}" for n in range(1, labels))
        network = DeepLab(labels - 1, params.train_seg)
        save_weights(folder / f"{name}.safetensors", network, names, params.train_seg)
    return data


def compare_speed(params: Params, folder: Path, records: list[Record]) -> dict[str, float]:
    """Photographs a second of both ways, the best of some rounds each."""
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
    """A folder of so many links to photographs, and how to segment it quickly."""
    links = folder / f"links{count}"
    links.mkdir()
    for number in range(count):
        os.link(files[number % len(files)], links / f"{number:05d}.jpg")
    return [str(links), "--weights", str(folder / "sample.safetensors"), "--no-crf", "--size", "60"]


def large(folder: Path, file: Path, labels: str) -> list[str]:
    """A photograph of 48 million pixels with the noise of a camera, and how to segment it."""
    path = folder / "large.jpg"
    if not path.exists():
        image = Image.open(file).convert("RGB").resize(LARGE, Image.Resampling.BICUBIC)
        pixels = np.asarray(image, np.int16)
        noise = np.random.default_rng(0).integers(-8, 9, pixels.shape, np.int16)
        Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8)).save(path, quality=92)
    return [str(path), "--weights", str(folder / f"{labels}.safetensors"), "--crf", "--confidence"]


def peak_of(arguments: list[str], out: Path) -> dict[str, float]:
    """Peak memory in GB and seconds of `rca predict` in one process of its own."""
    command = [sys.executable, "-m", "benchmarks.predict_speed", "--only", *arguments]
    command += ["--out", str(out), "--processes", "1", "--threads", "1"]
    start = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    seconds = time.perf_counter() - start
    peak = json.loads(done.stdout.splitlines()[-1])
    return {"peak_gb": round(peak * 1024 / 1e9, 2), "seconds": round(seconds, 1)}


def run_and_measure(arguments: list[str]) -> None:
    """Be `rca predict`, and print the peak memory in kB as the last line."""
    from rca.cli import main as cli

    sys.argv = ["rca", "predict", *arguments]
    try:
        cli()
    except SystemExit as end:
        if end.code:
            raise
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def measure() -> dict[str, object]:
    """All figures."""
    params = config.load(PARAMS)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        data = prepare(params, folder)
        files = [record.file for record in data.records]
        found: dict[str, object] = {"speed": compare_speed(params, folder, data.split("val"))}
        print(found, flush=True)
        for count in COUNTS:
            peak = peak_of(many(folder, files, count), folder / f"out{count}")
            found[f"{count} photographs"] = peak
            print(count, peak, flush=True)
        for name, labels in LABELS.items():
            peak = peak_of(large(folder, files[0], name), folder / f"large_{name}")
            found[f"{LARGE[0]} × {LARGE[1]}, {labels} labels, CRF"] = peak
            print(labels, peak, flush=True)
    return found


def main() -> None:
    """Measure, print, and record on request."""
    if sys.argv[1:2] == ["--only"]:
        run_and_measure(sys.argv[2:])
        return
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--record", action="store_true")
    chosen = options.parse_args()
    found = measure()
    if chosen.record:
        write_json(RECORD, {**found, **origin()})


if __name__ == "__main__":
    main()
