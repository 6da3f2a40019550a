"""Sections `evaluate`, `report` and `track`."""

from __future__ import annotations

import re
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from rca.config.section import Count, Fraction, Section

SECRET = re.compile(r"(?i)(passw|pwd|token|secret|key)[^=&]*=")
SECRET_IN_URI = (
    "holds a password or a token, which dvc.lock, the report and MLflow would show; leave it out, "
    "and set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN; for "
    "PostgreSQL PGPASSWORD or ~/.pgpass"
)


class Evaluate(Section):
    """Stage `evaluate`: IoU of every intermediate product against the true masks."""

    ignored_predictions: Literal["strict", "background", "excluded"] = Field(
        "strict",
        description="How pixels predicted 255 count: as misses, as background, or not at all (the "
        "coverage is then stated).",
    )
    boundary: Fraction = Field(
        0.02,
        description="Width of the boundary in boundary IoU, as a share of the image's diagonal "
        "(Cheng et al. 2021: 0.02).",
    )
    resamples: Count = Field(
        1000, description="Bootstrap resamples of the images for the confidence intervals."
    )
    seed_threshold: Fraction = Field(
        0.25,
        description="Background score that turns CAMs into the seeds that are scored and shown; no "
        "other stage uses it. `pseudo_labels.threshold` turns CAMs into labels.",
    )
    threshold_chosen_on: str = Field(
        "no masks",
        description="For the protocol: the split whose true masks were looked at when this "
        "threshold and `pseudo_labels.threshold` were chosen. The pipeline itself never chooses by "
        "masks.",
    )
    readout_chosen_on: str = Field(
        "no masks",
        description="For the protocol: the split whose true masks were looked at when the settings "
        "of `readout` were chosen.",
    )
    pretrained_on: str = Field(
        "ImageNet-1k classification",
        description="For the protocol: what the backbones' weights were trained on, which a file "
        "of weights does not say. Weights from segmentation masks (COCO) are pixel supervision.",
    )
    processes: int = Field(0, ge=0, description="Worker processes; 0 uses every core.")


class Report(Section):
    """Stage `report`: one HTML page."""

    panels: Count = Field(
        1500,
        description="Maximum number of validation photographs on the page; if there are more, it "
        "shows the best and the worst, half each. Pictures are shrunk to keep the page below 30 "
        "MB, for which 1,500 are few enough.",
    )
    training_panels: Count = Field(
        60, description="Maximum number of training photographs, likewise."
    )
    class_panels: int = Field(
        1,
        ge=0,
        description="Number of images of each class to list as its best, as its worst and as those "
        "that changed most since the CAM; the same number of each, in both splits.",
    )


class Track(Section):
    """Stage `track`: the record of the run in MLflow."""

    uri: str = Field(
        "sqlite:///mlflow.db",
        description="MLflow tracking URI, without a password or a token: MLflow takes these from "
        "the environment.",
    )
    run_name: str | None = Field(None, description="Name of the run; `null` uses `experiment`.")

    @field_validator("uri")
    @classmethod
    def _holds_no_secret(cls, uri: str) -> str:
        """Refuse a secret: the URI is written to dvc.lock, the report, logs and MLflow itself."""
        try:
            parts = urlsplit(uri)
        except ValueError as error:
            raise ValueError(f"not a valid URI ({error})") from None
        if parts.password or SECRET.search(parts.query):
            raise PydanticCustomError("secret", SECRET_IN_URI)
        return uri
