"""Stages on synthetic photographs, with random weights, for `benchmarks.gpu`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image

from rca import config
from rca.config import Params, TrainCam
from rca.data.index import read_index
from rca.models.cam_network import CamNetwork
from rca.models.weights import save_weights
from rca.stages import crf, index, infer_cam, pseudo_labels, readout

CLASSES = ("cat", "dog", "cow")
PATIENCE = 180  # seconds for a training on a few photographs, including its start


def fabricate(folder: Path, images: int, size: tuple[int, int]) -> Path:
    """Make a data set of coloured clouds, half of it for training, laid out as `index` reads it."""
    draws = np.random.default_rng(0)
    names = [f"cloud{number:03d}" for number in range(images)]
    (folder / "JPEGImages").mkdir(parents=True)
    for name in names:
        coarse = Image.fromarray(draws.integers(0, 256, (6, 8, 3), np.uint8))
        pixels = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), np.int16)
        noise = draws.integers(-12, 13, pixels.shape, np.int16)
        cloud = Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))
        cloud.save(folder / "JPEGImages" / f"{name}.jpg")
    (folder / "classes.txt").write_text("".join(f"{label}\n" for label in CLASSES))
    rows = [
        f"{name},{CLASSES[number % 3]} {CLASSES[(number // 3) % 3]}"
        for number, name in enumerate(names)
    ]
    (folder / "tags.csv").write_text("\n".join(["image,tags", *rows]) + "\n")
    lists = folder / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("\n".join(names[::2]))
    (lists / "val.txt").write_text("\n".join(names[1::2]))
    return folder


def parameters(preset: str, device: torch.device, file: Path, **compute: Any) -> Params:
    """Adapt a preset to the synthetic data and a device, from random weights; write and load it."""
    content = yaml.safe_load(Path(f"configs/{preset}.yaml").read_text(encoding="utf-8"))
    content["compute"] |= {"device": device.type, **compute}
    content["index"] |= {
        "classes": list(CLASSES), "train_list": "train", "val_list": "val", "limit": None,
    }  # fmt: skip
    content["infer_cam"]["training_maps"] = "network"  # its forward pass is what is measured
    for training in ("train_cam", "train_seg"):
        content[training]["backbone"]["weights"] = "none"
    file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return config.load(file)


def write_random(path: Path, cfg: TrainCam) -> None:
    """Write the weights of an untrained CAM network with random prototypes."""
    torch.manual_seed(0)
    network = CamNetwork(len(CLASSES), cfg)
    if cfg.rsa.enabled:
        network.prototypes.normal_().relu_()
        network.prototypes_valid.fill_(True)
    save_weights(path, network, CLASSES, cfg)


def inference(
    folder: Path, device: torch.device, preset: str, images: int, size: tuple[int, int]
) -> dict[str, Any]:
    """Measure `infer_cam`, `readout`, `pseudo_labels` and `crf`, in seconds for each photograph.

    The CRF runs on the CPU, in as many processes as the preset asks for.
    """
    params = parameters(preset, device, folder / f"{preset}.yaml")
    listed, weights = folder / "index", folder / "weights.safetensors"
    if not listed.exists():
        index.run(params.index, data=fabricate(folder / "data", images, size), out=listed)
    write_random(weights, params.train_cam)
    compute, state = params.compute, folder / "state"
    cams, maps, labels = folder / "infer_cam", folder / "readout", folder / "pseudo_labels"
    attention = folder / "none"
    stages: dict[str, Callable[[], None]] = {
        "infer_cam": lambda: infer_cam.run(
            params.infer_cam, compute, index=listed, weights=weights, attention=attention,
            out=cams, state=state,
        ),
        "readout": lambda: readout.run(
            params.readout, compute, params.seed, index=listed, weights=weights, cams=cams,
            out=maps, state=state,
        ),
        "pseudo_labels": lambda: pseudo_labels.run(
            params.pseudo_labels, index=listed, maps=maps, out=labels
        ),
        "crf": lambda: crf.run(
            params.crf, params.pseudo_labels, index=listed, maps=maps, labels=labels,
            out=folder / "crf", state=state,
        ),
    }  # fmt: skip
    data = read_index(listed)
    shares = {"pseudo_labels": len(data.split("train")), "crf": len(data.split("train"))}
    found: dict[str, Any] = {"preset": preset, "photographs": images, "size": list(size)}
    for name, run in stages.items():
        began = time.perf_counter()
        run()
        taken = time.perf_counter() - began
        found[name] = {
            "seconds": taken, "seconds_per_image": taken / shares.get(name, images),
        }  # fmt: skip
    return found


def resume(folder: Path, device: torch.device) -> dict[str, Any]:
    """Run a training of the debug preset twice, and once more killed midway and resumed.

    Returns:
        Whether the two runs write the same bytes, and whether the resumed one does, too.
    """
    params = parameters(
        "debug", device, folder / "resume.yaml", checkpoint_steps=1, gpus=1, workers=0
    )
    listed = folder / "resume/index"
    data = folder / "data"
    if not data.exists():
        fabricate(data, 12, (64, 48))
    index.run(params.index, data=data, out=listed)
    for name in ("one", "two"):
        _train(folder, name).wait(PATIENCE)
    killed = _train(folder, "killed")
    until = time.monotonic() + PATIENCE
    while not [*folder.glob("resume/killed_state/train_cam/*/step-000000002.*")]:
        if killed.poll() is not None or time.monotonic() > until:
            break
        time.sleep(0.002)
    killed.send_signal(signal.SIGKILL)
    status = killed.wait()
    again = _train(folder, "killed").wait(PATIENCE)
    bytes_of = {
        name: (folder / f"resume/{name}/weights.safetensors").read_bytes()
        for name in ("one", "two", "killed")
    }
    return {
        "killed": status == -signal.SIGKILL,
        "status_after_resuming": again,
        "runs_repeat_their_bytes": bytes_of["one"] == bytes_of["two"],
        "resumed_has_the_same_bytes": bytes_of["one"] == bytes_of["killed"],
    }


def _train(folder: Path, name: str) -> subprocess.Popen[bytes]:
    place = folder / "resume"
    command = [
        sys.executable, "-m", "rca", "train-cam", "--params", str(folder / "resume.yaml"),
        "--index", str(place / "index"), "--out", str(place / name),
        "--state", str(place / f"{name}_state"),
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(["", *sys.path])}
    return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
