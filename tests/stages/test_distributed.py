"""Two processes with a piece of each batch against one with the whole."""

from __future__ import annotations

import os
import socket
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from test_train_cam import BASE, CLASSES, TAGS
from torch import multiprocessing, nn

from rca.config import Compute, TrainCam, TrainSeg
from rca.data.images import write_label_map
from rca.data.index import Index, Record, write_index
from rca.data.palette import voc_palette
from rca.models import cam_network, deeplab
from rca.models.backbones import Backbone
from rca.stages import train_cam, train_seg
from rca.training.checkpoint import Checkpoints, read_state

pytestmark = pytest.mark.slow  # starts torchrun

# Batches of five and one: pieces of two and three, and of none and one.
CAM = TrainCam.model_validate(
    {
        **BASE,
        "batch_size": 5,
        "memory": {"slots": 3, "gate": 0.0, "update": "ema", "momentum": 0.5},
        "rsc": {"weight": 1.0, "start_epoch": 1, "sum_images": True},
        "attention": {"accumulate": True, "size": 4, "gate": 0.0, "drop": True},
    }
)
SEG = TrainSeg.model_validate(
    {
        "epochs": 2,
        "batch_size": 5,
        "balanced": True,
        "view": {"mode": "crop", "size": 16, "scale": (0.5, 1.2), "jitter": 0},
        "backbone": {"stride": 8},
        "optimiser": {"lr": 0.05},
    }
)
# The released code's head of queries; its batch statistics are shared on CUDA alone.
HEAD = CAM.model_copy(update={"rsc": CAM.rsc.model_copy(update={"query": "head"})})
JOBS = ("cam", "seg", "resumed", "head")


def tiny_backbone(_cfg: Any) -> Backbone:
    network = Backbone(nn.Conv2d(3, 8, 8, stride=8), nn.ReLU())
    network.channels = 8
    return network


class Killed(BaseException):
    pass


def work(job: str, folder: Path) -> None:
    """Train in `folder`, as one of the processes of the environment; keep the checkpoints."""
    cam_network.build_backbone = deeplab.build_backbone = tiny_backbone
    Checkpoints.remove = lambda self: None
    compute = Compute(device="cpu", threads=1, checkpoint_steps=1)
    paths = {
        "index": folder.parent / "index",
        "out": folder / job,
        "state": folder / f"{job}.state",
    }
    if job == "seg":
        labels = folder.parent
        train_seg.run(SEG, compute, 0, supervision="truth", labels=labels, **paths)
    else:
        train_cam.run(HEAD if job == "head" else CAM, compute, 0, **paths)


def killed_then_resumed(folder: Path) -> None:
    whole = Checkpoints.after_step

    def after_step(self: Checkpoints, number: int) -> None:
        whole(self, number)
        if number == 5:
            raise Killed

    Checkpoints.after_step = after_step
    with pytest.raises(Killed):
        work("resumed", folder)
    Checkpoints.after_step = whole
    os.environ["MASTER_PORT"] = os.environ["NEXT_PORT"]
    work("resumed", folder)


def process(rank: int, folder: Path, ports: list[int]) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo"}
    for job, port in zip(JOBS, ports, strict=False):
        os.environ |= {"MASTER_PORT": str(port), "NEXT_PORT": str(ports[-1])}
        if job == "resumed":
            killed_then_resumed(folder)
        else:
            work(job, folder)


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def make_index(root: Path) -> None:
    records = []
    for number, tags in enumerate(TAGS):
        path, mask = root / f"{number}.png", root / f"{number}-mask.png"
        draws = np.random.default_rng(number)
        Image.fromarray(draws.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(path)
        write_label_map(mask, draws.integers(0, 4, (20, 24), dtype=np.uint8), voc_palette())
        records.append(Record(str(number), "train", path, mask, None, 24, 20, tags))
    values = np.arange(256, dtype=np.uint8)
    write_index(root / "index", Index(root, CLASSES, values, voc_palette(), tuple(records)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """`one` and `two` hold what one process and what two have trained."""
    root = tmp_path_factory.mktemp("distributed")
    make_index(root)
    context = multiprocessing.get_context("spawn")
    alone = context.Process(target=in_turn, args=(root / "one",))
    alone.start()
    alone.join()
    assert alone.exitcode == 0
    multiprocessing.spawn(process, (root / "two", free_ports(len(JOBS) + 1)), nprocs=2)
    return root


def in_turn(folder: Path) -> None:
    for job in ("cam", "seg"):
        work(job, folder)


def last_state(folder: Path, job: str) -> dict[str, Any]:
    return read_state(max(folder.glob(f"{job}.state/*/*/step-*.safetensors")))


def history(folder: Path, job: str) -> np.ndarray:
    return np.loadtxt(folder / job / "history.csv", delimiter=",", skiprows=1)


close = partial(torch.testing.assert_close, rtol=1e-4, atol=1e-5)


def test_memory__is_that_of_one_process_with_the_whole_batch(folder):
    one, two = (last_state(folder / name, "cam")["memory"] for name in ("one", "two"))
    assert one["rows"].any()
    assert torch.equal(one["count"], two["count"]) and torch.equal(one["pointer"], two["pointer"])
    close(two["rows"], one["rows"])


def test_prototypes_and_weights__are_those_of_one_process(folder):
    one, two = (load_file(folder / name / "cam/weights.safetensors") for name in ("one", "two"))
    assert one["prototypes"].any()
    assert torch.equal(one["prototypes_valid"], two["prototypes_valid"])
    for name in one:
        close(two[name].float(), one[name].float())


@pytest.mark.parametrize("job", ["cam", "seg"])
def test_losses__are_those_of_one_process(folder, job):
    one, two = (history(folder / name, job) for name in ("one", "two"))
    assert (one[:, 1] > 0).all()
    np.testing.assert_allclose(two, one, rtol=1e-4, atol=2e-6)


def test_segmentation_weights__are_those_of_one_process(folder):
    one, two = (load_file(folder / name / "seg/weights.safetensors") for name in ("one", "two"))
    for name in one:
        close(two[name], one[name])


def test_attention__is_that_of_one_process(folder):
    one, two = (last_state(folder / name, "cam")["attention"] for name in ("one", "two"))
    assert one["seen"].all() and torch.equal(one["seen"], two["seen"])
    close(two["maps"].float(), one["maps"].float(), rtol=2e-3, atol=2e-3)  # float16


def test_two_processes__killed_and_resumed_write_the_same_bytes(folder):
    for path in (folder / "two/cam").iterdir():
        assert (folder / "two/resumed" / path.name).read_bytes() == path.read_bytes(), path.name


def test_two_processes__wait_for_no_gradient_of_a_head_that_rests(folder):
    weights = load_file(folder / "two/head/weights.safetensors")
    assert any(name.startswith("query_head") for name in weights)
    assert all(value.isfinite().all() for value in weights.values())
