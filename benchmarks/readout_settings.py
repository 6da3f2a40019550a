"""How much each setting of the prototype readout matters, with one changed at a time.

    python -m benchmarks.readout_settings             measure on results/demo, record, render
    python -m benchmarks.readout_settings --render    only the table in docs/explanation/readout.md

Reads the index, the weights and the CAMs of a finished run; nothing is trained. Each row refits the
prototypes with one setting changed and scores the argmax of the posteriors, before any CRF, against
the masks of the *training* images: the settings were chosen on that split. A second score needs no
mask: the agreement with the tags. It is the mean log-likelihood of an image's tags, with all
classes allowed, when the probability of a class is the mean of its highest twentieth of posteriors.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rca.config import Params, load
from rca.data.index import Record, in_pieces, read_index
from rca.evaluation.confusion import confusion_matrix, mean_iou
from rca.labels.rules import best_label
from rca.labels.scores import posterior_scores, upsample_cams
from rca.method.readout import ReadoutSettings, fit_readout, label_posterior
from rca.models.device import prepare
from rca.readout.pixels import (
    Gathered,
    gather_pixels,
    make_reader,
    sample_pixels,
    settings_of,
)
from rca.runtime.files import write_json
from rca.runtime.state import WHOLE
from rca.training.seeds import generator
from tools.records import origin, place_tables

RECORD, PAGE = Path("benchmarks/results/readout_settings.json"), Path("docs/explanation/readout.md")
TOP_SHARE = 20  # an image's score of a class: the mean of its highest twentieth
FLOOR = 1e-4  # the lowest probability, before its logarithm
# Setting → its changed values; `seed` is that of the k-means.
CHANGES: dict[str, Sequence[Any]] = {
    "background_weight": (1.0, 6.0),
    "rounds": (1, 3),
    "seed": (1,),
}


def variants(params: Params) -> Iterator[tuple[str, dict[str, Any], int]]:
    """Yield each row's name, changes of section `readout`, and seed; the first is the preset."""
    yield "as it stands", {}, params.seed
    for key, values in CHANGES.items():
        for value in values:
            shown = ", ".join(map(str, value)) if isinstance(value, list) else f"{value:g}"
            change = {} if key == "seed" else {key: value}
            yield f"`{key}` {shown}", change, value if key == "seed" else params.seed


def measure(results: Path, params: Params) -> list[dict[str, Any]]:
    """Measure the rows of the record."""
    data = read_index(results / "index")
    truths = {record.image: data.truth(record) for record in data.split("train")}
    device = prepare(params.compute)
    rows, kept = [], {}
    for name, change, seed in variants(params):
        cfg = params.readout.model_copy(update=change)
        reader = make_reader(
            cfg, data, results / "train_cam/weights.safetensors", results / "infer_cam", device
        )
        pieces = in_pieces(data.split("train"), cfg.shard_size)
        key = (*(reader.cfg.blocks or ()), *cfg.sizes)
        if key not in kept:
            with tempfile.TemporaryDirectory() as folder:
                files = sample_pixels(reader, pieces, params.seed, Path(folder), WHOLE)
                kept[key] = gather_pixels(reader, pieces, files)
        gathered = kept[key]
        settings = settings_of(cfg)
        fitted = fit_readout(gathered.pixels, settings, generator(seed, "readout", "k-means"))
        row = {
            "name": name,
            "miou": score(gathered, data.split("train"), truths, fitted, settings),
            "tags": tag_likelihood(gathered, fitted, settings),
        }
        print(row, flush=True)
        rows.append(row)
    return rows


def score(
    gathered: Gathered,
    records: Sequence[Record],
    truths: dict[str, np.ndarray],
    fitted: tuple[Tensor, Tensor],
    settings: ReadoutSettings,
) -> float:
    """Score the posteriors' argmax on the training images, tags known: mIoU in percent."""
    classes = gathered.pixels.tags.shape[1]
    matrix = np.zeros((classes + 1, classes + 2), np.int64)
    for number, record in enumerate(records):
        tags = gathered.pixels.tags[number]
        posterior = _posterior(gathered, number, tags, fitted, settings)
        grid = posterior.unflatten(0, gathered.grids[number])[..., 1:][..., tags].movedim(-1, 0)
        maps = upsample_cams(grid.numpy(), record.height, record.width)
        labels = best_label(posterior_scores(maps), tags.nonzero()[:, 0].numpy())
        matrix += confusion_matrix(truths[record.image], labels, classes)
    return round(100 * mean_iou(matrix, "strict"), 1)


def tag_likelihood(
    gathered: Gathered, fitted: tuple[Tensor, Tensor], settings: ReadoutSettings
) -> float:
    """Compute the mean log-likelihood of the tags, all classes allowed; needs no mask."""
    total = []
    for number, tags in enumerate(gathered.pixels.tags):
        posterior = _posterior(gathered, number, torch.ones_like(tags), fitted, settings)
        top = posterior[:, 1:].topk(max(len(posterior) // TOP_SHARE, 1), dim=0).values.mean(dim=0)
        probable = torch.where(tags, top, 1 - top).clamp_min(FLOOR)
        total.append(probable.log().mean())
    return round(float(torch.stack(total).mean()), 3)


def _posterior(
    gathered: Gathered,
    number: int,
    tags: Tensor,
    fitted: tuple[Tensor, Tensor],
    settings: ReadoutSettings,
) -> Tensor:
    """Compute the posteriors of an image's pixels, (n, L)."""
    own = gathered.pixels.image == number
    return label_posterior(
        gathered.pixels.directions[own],
        *fitted,
        tags,
        settings.temperature,
        settings.background_weight,
    )


def table(content: dict[str, Any]) -> str:
    """Render the record as a Markdown table."""
    lines = ["| changed | mIoU in % | log-likelihood of the tags |", "|---|---:|---:|"]
    lines += [
        f"| {row['name']} | {row['miou']:.1f} | {row['tags']:.3f} |" for row in content["rows"]
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure unless `--render` is given, then render the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--results", type=Path, default=Path("results/demo"))
    options.add_argument("--params", type=Path, default=Path("params.yaml"))
    options.add_argument("--render", action="store_true")
    chosen = options.parse_args()
    if not chosen.render:
        params = load(chosen.params)
        rows = measure(chosen.results, params)
        write_json(RECORD, {"rows": rows, "params": params.model_dump(mode="json"), **origin()})
    content = json.loads(RECORD.read_text(encoding="utf-8"))
    place_tables(PAGE, {str(RECORD): table(content)})


if __name__ == "__main__":
    main()
