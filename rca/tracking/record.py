"""The record of a run, gathered from the files that the stages wrote."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rca.config import SUPERVISIONS, ConfigError, Params
from rca.data.nested import flat
from rca.tracking.dataset import Split
from rca.tracking.networks import Network
from rca.tracking.times import Span, pipeline_span

Curve = tuple[tuple[int, float], ...]
TRAININGS = ("train_cam", *(f"train_seg/{name}" for name in SUPERVISIONS))
FILES = (
    "evaluate/metrics.json",
    "evaluate/per_class.csv",
    "report/report.html",
    "report/panels.png",
)


@dataclass(frozen=True)
class Record:
    """A finished run.

    Attributes:
        params: The values of the configuration by dotted key, without section `track`: under what
            name and where the run is kept is not part of it.
        params_file: The whole configuration as YAML.
        metrics: The mIoU of each product and the IoU of each class, in percent.
        curves: The losses by name, as (epoch, value).
        files: The files worth keeping with the run.
        span: When the pipeline began and ended, as far as its stages ran here.
        splits: The splits of the data set.
        networks: The trained segmentation networks.
    """

    params: Mapping[str, str]
    params_file: str
    metrics: Mapping[str, float]
    curves: Mapping[str, Curve]
    files: tuple[Path, ...]
    span: Span | None = None
    splits: tuple[Split, ...] = ()
    networks: tuple[Network, ...] = ()

    @property
    def key(self) -> str:
        """Sixteen hex digits, the same for the same parameters and the same numbers."""
        content = json.dumps([self.params, self.metrics, self.curves], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]


def read_record(results: Path, params: Params) -> Record:
    """Gather the run in `results`, which `params` made.

    Raises:
        ConfigError: The run has not been evaluated, or its numbers are damaged.
    """
    path = results / "evaluate/metrics.json"
    with _whole(path, "evaluate"):
        scores = dict(_metrics(json.loads(path.read_text(encoding="utf-8"))))
    values = params.model_dump(mode="json")
    return Record(
        params={
            key: value if isinstance(value, str) else json.dumps(value)
            for key, value in flat(values)
            if not key.startswith("track.")
        },
        params_file=yaml.safe_dump(values, sort_keys=False, allow_unicode=True),
        metrics=scores,
        curves={
            name: curve
            for training in TRAININGS
            for name, curve in _curves(results / training / "history.csv", training)
        },
        files=tuple(results / name for name in FILES if (results / name).is_file()),
        span=pipeline_span(results),
    )


def _metrics(metrics: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    products = metrics["products"]
    for name, value in metrics["miou"].items():
        if value is not None:
            yield f"miou/{name}" if name in products else name, value
    for name, product in products.items():
        for label, value in product["iou"].items():
            if value is not None:
                yield f"iou/{name}/{label}", value


def _curves(path: Path, training: str) -> Iterator[tuple[str, Curve]]:
    if not path.is_file():
        return
    with _whole(path, training.split("/")[0]):
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        for loss in [name for name in rows[0] if name != "epoch"] if rows else []:
            curve = tuple((int(row["epoch"]), float(row[loss])) for row in rows if row[loss])
            yield f"{training}/{loss}", curve


@contextmanager
def _whole(path: Path, stage: str) -> Iterator[None]:
    """Turn errors in reading the numbers of a stage into a message of one line."""
    verb = f"rca {stage.replace('_', '-')}"
    try:
        yield
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; run `{verb}` first") from None
    except (ValueError, LookupError, TypeError, AttributeError, csv.Error) as error:
        raise ConfigError(f"{path}: damaged ({error}); run `{verb}` again") from None
