"""Finished runs, and where their protocols differ."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from rca.config import ConfigError
from rca.data.nested import flat
from rca.evaluation.protocol import UNSTATED

Metrics = Mapping[str, Any]


@dataclass(frozen=True)
class Runs:
    """Runs of one method with different seeds; often only one.

    Attributes:
        name: The name for display.
        metrics: The content of each run's `metrics.json`.
    """

    name: str
    metrics: tuple[Metrics, ...]

    @property
    def protocol(self) -> dict[str, Any]:
        """The runs' protocol by dotted key."""
        return dict(flat(self.metrics[0]["protocol"]))

    def cell(self, name: str) -> str:
        """Format the mIoU, with its interval over images or its standard deviation over seeds."""
        values = [run["miou"].get(name) for run in self.metrics]
        if None in values:
            return "none"
        if len(values) > 1:
            return f"{mean(values):.2f} ± {stdev(values):.2f} ({len(values)} seeds)"
        interval = self.metrics[0]["products"][name].get("miou_interval")
        if not interval or None in interval:
            return f"{values[0]:.2f}"
        return f"{values[0]:.2f} [{interval[0]:.2f}, {interval[1]:.2f}]"


def same_method(name: str, metrics: Sequence[Metrics]) -> Runs:
    """Combine runs that differ in their seed alone.

    Raises:
        ConfigError: Two runs have the same seed, or their protocols or products differ.
    """
    first = metrics[0]
    seeds = [run.get("seed") for run in metrics]
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"{name}: seeds are {seeds}; runs of one method need different ones")
    for run in metrics[1:]:
        keys = [key for key, _ in differing([run["protocol"], first["protocol"]])]
        if keys or set(run["products"]) != set(first["products"]):
            raise ConfigError(
                f"{name}: these are not runs of one method; they differ in "
                f"{', '.join(keys) or 'what was scored'}"
            )
    return Runs(name, tuple(metrics))


def differing(protocols: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Yield dotted keys with the values of all protocols, where these differ."""
    known = [dict(flat(protocol)) for protocol in protocols]
    for key in dict.fromkeys(key for keys in known for key in keys):
        values = tuple(keys.get(key, UNSTATED) for keys in known)
        if len({json.dumps(value) for value in values}) > 1:
            yield key, values
