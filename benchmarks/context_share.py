"""How much RSA's context changes a class map, and whether it locates the object.

    python -m benchmarks.context_share       for the networks that benchmarks.method_study trained

F' of Eq. 8 is computed at each pixel from that pixel's own F. For every class of a scored image's
tags, this compares the final map with that of the same network with F' replaced by its mean over
the image. It reports the context's share of the map, and how well each map, or the affinity alone,
ranks the object's pixels above the background's.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from benchmarks.method_study import BASE
from benchmarks.method_variants import VARIANTS, overridden
from rca.config import InferCam, Params, TrainCam, load
from rca.data.images import read_image
from rca.data.index import Index, Record, read_index
from rca.data.views import normalised
from rca.method.aggregation import prototype_affinity
from rca.models.cam_network import CamNetwork
from rca.models.multiscale import multiscale
from rca.models.weights import load_network
from rca.runtime.files import write_json
from tools.records import origin

RECORD = Path("benchmarks/results/context_share.json")
MAPS = ("final", "without_context", "affinity")


def maps_of(network: CamNetwork, view: Tensor) -> Tensor:
    """Compute the final maps, those with the mean context everywhere, and the classes' affinities.

    Args:
        network: A trained network with non-parametric RSA.
        view: The image, (1, 3, H, W), normalised.

    Returns:
        The C maps of each of the three kinds, one kind after the other, (1, 3C, …).
    """
    rsa, classes = network.rsa, len(network.prototypes)
    features = network.backbone(view)
    affinity = prototype_affinity(
        features,
        network.prototypes,
        network.prototypes_valid,
        scale=rsa.scale,
        temperature=rsa.temperature,
        null=rsa.null_prototype,
    )
    context = torch.einsum("bqhw,qd->bdhw", affinity, network.prototypes.flatten(0, 1))
    flat = context.mean((2, 3), keepdim=True).expand_as(context)
    maps = [network.final_head(torch.cat([features, part], dim=1)) for part in (context, flat)]
    of_class = affinity.unflatten(1, (classes, -1)).sum(2)
    return torch.cat([*maps, of_class], dim=1)


@torch.no_grad()
def of_image(
    network: CamNetwork, data: Index, record: Record, cfg: InferCam
) -> Iterator[dict[str, float]]:
    """Yield the measures of the map of each tag that the ground truth shows beside background."""
    truth, tags = data.truth(record), data.tag_vector(record).nonzero()[:, 0].tolist()
    maps = multiscale(
        lambda view: maps_of(network, view),
        normalised(read_image(record.file)),
        short_side=cfg.size,
        scales=cfg.scales,
        flip=False,
        output=truth.shape,
    ).numpy()
    for label in tags:
        known = (truth == 0) | (truth == label + 1)
        inside = truth[known] == label + 1
        if inside.all() or not inside.any():
            continue
        final, flat, affinity = maps[label :: len(data.classes)]
        yield {
            "share": float(np.std(final - flat) / np.std(final)),
            **{
                f"auc_{name}": float(roc_auc_score(inside, values[known]))
                for name, values in zip(MAPS, (final, flat, affinity), strict=True)
            },
        }


def measure(work: Path, params: Params) -> dict[str, float]:
    """Average the measures over all maps of the scored images, for the network `params` trained."""
    data = read_index(work / "index" / "scored")
    trained = work / "trained" / f"{params.train_cam.digest()}-{params.seed}"
    network = load_network(
        trained / "weights.safetensors",
        CamNetwork,
        TrainCam,
        data.classes,
        params.infer_cam.network_stride,
    )
    rows = [
        row
        for record in data.split("train")
        for row in of_image(network, data, record, params.infer_cam)
    ]
    return {"maps": len(rows)} | {
        name: round(mean(row[name] for row in rows), 4) for name in rows[0]
    }


def main() -> None:
    """Measure RSA's variants of the study, and write the record."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--work", type=Path, default=Path("results/method_study"))
    options.add_argument("--out", type=Path, default=RECORD)
    options.add_argument("--seed", type=int, default=0)
    chosen = options.parse_args()
    measured = {}
    for name in ("rsa", "rca", "random_prototypes"):
        params = overridden(load(BASE), {**VARIANTS[name].changes, "seed": chosen.seed})
        measured[name] = measure(chosen.work, params)
        print(name, measured[name], flush=True)
    write_json(chosen.out, {**origin(), "seed": chosen.seed, "measured": measured})


if __name__ == "__main__":
    main()
