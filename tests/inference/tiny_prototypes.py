"""A run as far as its prototypes: an untrained network, and directions at random."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from rca.config import Aggregation, Backbone, Crf, Head, InferCam, Readout, TrainCam
from rca.method.numerics import unit
from rca.models.cam_network import CamNetwork
from rca.models.features import block_features
from rca.models.weights import save_weights
from rca.readout.fitted import Fitted, write_fitted

BLOCKS = [13, 16]
READOUT = Readout(
    method="prototypes",
    blocks=BLOCKS,
    sizes=[32, 64],
    network_stride=16,
    prototypes=2,
    background_prototypes=2,
    rounds=2,
)
INFER_CAM, CRF = InferCam(size=32, flip=True), Crf(iterations=2)


def write_network(run: Path, classes: tuple[str, ...]) -> CamNetwork:
    """Write `train_cam/weights.safetensors` of an untrained network."""
    backbone = Backbone(name="mobilenet_v2", stride=32, weights="none")
    cfg = TrainCam(backbone=backbone, head=Head(depth=0), rsa=Aggregation(enabled=False))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = CamNetwork(len(classes), cfg).eval()
    save_weights(run / "train_cam/weights.safetensors", network, classes, cfg)
    return network


def write_protocol(run: Path) -> None:
    """Write `evaluate/metrics.json` with what the prototypes need of it."""
    protocol = {
        "readout": {**READOUT.model_dump(mode="json"), "settings_chosen_on": "no masks"},
        "cam_inference": INFER_CAM.model_dump(mode="json", exclude={"bits", "shard_size"}),
        "crf": CRF.model_dump(mode="json", exclude={"processes"}),
    }
    file = run / "evaluate/metrics.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"protocol": protocol}))


def write_prototypes(run: Path, classes: tuple[str, ...]) -> None:
    """Write a run with prototypes at random."""
    network = write_network(run, classes)
    write_protocol(run)
    probe = block_features(network.backbone, torch.zeros(3, 64, 64), BLOCKS, READOUT.sizes)
    channels = sum(map(len, probe))
    draws = torch.Generator().manual_seed(0)
    directions = unit(torch.randn(len(classes) + 1, 2, channels, generator=draws))
    valid = torch.ones(len(classes) + 1, 2, dtype=torch.bool)
    folder = run / "readout"
    folder.mkdir(parents=True)
    write_fitted(folder, Fitted(directions, valid, torch.zeros(channels)))
