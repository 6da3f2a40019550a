"""Sections `evaluate`, `report` and `track`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rca.config.section import Count, Section


class Evaluate(Section):
    """Stage `evaluate`: IoU of every intermediate product against the true masks."""

    ignored_predictions: Literal["strict", "background", "excluded"] = Field(
        "strict",
        description="Predicted 255: counted as a miss, as background, or left out (with coverage).",
    )


class Report(Section):
    """Stage `report`: one HTML page."""

    panels: Count = Field(24, description="Validation images shown, half best and half worst.")
    training_panels: Count = Field(12, description="Training images shown.")


class Track(Section):
    """Stage `track`: the run as MLflow shows it."""

    uri: str = Field("sqlite:///mlflow.db", description="MLflow tracking URI.")
    run_name: str | None = Field(None, description="Name of the run; `null` takes `experiment`.")
