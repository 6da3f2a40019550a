"""The model card: what a run's files say of its network; all else is stated as unknown."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from rca.config import ConfigError
from rca.data.checksums import sha256_of
from rca.data.index import read_index
from rca.evaluation.products import NETWORKS
from rca.evaluation.protocol import UNSTATED, in_words
from rca.inference.model import SegmentationModel

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Run:
    """The run that trained a network, as far as a card needs it.

    Attributes:
        name: The name of the experiment.
        network: The supervision that the network learned from.
        metrics: The content of `metrics.json`.
        images: The number of images of each split, with masks or without.
    """

    name: str
    network: str
    metrics: Mapping[str, Any]
    images: Mapping[str, int]


def read_run(results: Path, weights: Path) -> Run:
    """Find the network in the results of its run.

    Args:
        results: The folder of the experiment, evaluated.
        weights: The trained network.

    Raises:
        ConfigError: The run has not been evaluated, or it trained another network, so that its
            scores would not be this one's.
        DataError: The run has no index.
    """
    path = results / "evaluate/metrics.json"
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; run `rca evaluate` first") from None
    wanted = sha256_of(weights)
    for network in NETWORKS:
        file = results / "train_seg" / network / "weights.safetensors"
        if file.is_file() and sha256_of(file) == wanted:
            images = Counter(record.split for record in read_index(results / "index").records)
            return Run(results.resolve().name, network, metrics, images)
    raise ConfigError(
        f"{weights}: is not a network of {results}, whose scores would not be its own; "
        f"export {results}/train_seg/pseudo/weights.safetensors, or name its own results"
    )


def model_card(model: SegmentationModel, *, name: str, run: Run | None, licence: str | None) -> str:
    """Write the card as Markdown, with the header that the Hugging Face Hub reads.

    Args:
        model: The network.
        name: The title of the card, and the folder that its usage example names.
        run: The run that trained the network; without one, the card knows neither data nor scores.
        licence: The licence of the weights, as the user states it.
    """
    environment = Environment(
        loader=PackageLoader("rca.export", "."),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown
    )
    environment.filters |= {"points": _points, "interval": _interval, "pair": _pair}
    score, why = _score(run)
    return environment.get_template("model_card.md.j2").render(
        name=name,
        labels=["background", *model.classes],
        training=model.cfg,
        network=run.network if run else None,
        licence=licence,
        facts=list(_facts(run)),
        score=score,
        why_no_score=why,
        data_name=_data_name(run),
        protocol=in_words({**run.metrics["protocol"], "signals": _signals(run)}) if run else "",
    )


def _score(run: Run | None) -> tuple[Mapping[str, Any] | None, str]:
    """Return the network's entry of `metrics.json`, or why there is none."""
    if run is None:
        return None, "Unknown: this card was made without the results of a run."
    score = run.metrics["products"].get(NETWORKS[run.network])
    return score, "" if score else "None: the data set has no masks to score against."


def _data_name(run: Run | None) -> str:
    """Return the name that the data set calls itself, or the archives that it came from."""
    if run is None:
        return UNKNOWN
    data = run.metrics["protocol"]["data"]
    if data["name"] != UNSTATED:
        return data["name"]
    return ", ".join(data.get("archives", {})) or UNKNOWN


def _facts(run: Run | None) -> Iterator[tuple[str, str]]:
    """Yield the title and value of each row of the table `How it was made`."""
    if run is None:
        for title in ("Data set", "Source of the tags", "Signals used", "Pretrained"):
            yield title, UNKNOWN
        return
    protocol = run.metrics["protocol"]
    data, weak = protocol["data"], run.network != "truth"
    yield "Experiment", f"`{run.name}`, seed {run.metrics['seed']}"
    yield "Data set", f"{_data_name(run)} (source: {_known(data['source'])})"
    for archive, digest in data.get("archives", {}).items():
        yield f"SHA-256 of {archive}", f"`{digest}`"
    for split, title in (("train", "Training images"), ("val", "Validation images")):
        yield title, str(run.images.get(split, 0))
    if weak:
        yield "Source of the tags", _known(data["tags"])
    yield "Signals used", ", ".join(_signals(run))
    yield "Backbone began as", protocol["pretrained"]["train_seg"]
    if weak:
        readout = protocol.get("readout", {}).get("settings_chosen_on", UNKNOWN)
        yield "Masks looked at to choose the readout's settings", readout
        yield "Masks looked at to choose the threshold", protocol["threshold_chosen_on"]


def _signals(run: Run) -> list[str]:
    """Return everything that the network learned from; the protocol lists the pipeline's."""
    signals = run.metrics["protocol"]["signals"]
    if run.network != "truth":
        return signals
    return ["true masks", *(signal for signal in signals if signal.startswith("backbone"))]


def _known(value: str) -> str:
    return UNKNOWN if value == UNSTATED else value


def _points(value: float | None) -> str:
    return "not in these images" if value is None else f"{value:.1f}"


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{low:.1f} to {high:.1f}"


def _pair(interval: tuple[float, float] | None) -> str:
    return _interval(*interval) if interval else ""
