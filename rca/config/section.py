"""What every section of the configuration is made of."""

from __future__ import annotations

import hashlib
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

IGNORE = 255  # label of the pixels that neither teach nor count

Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Range = tuple[Positive, Positive]


class ConfigError(ValueError):
    """`params.yaml` (or a file like it) cannot be used; the message names file, key and fix."""


class Section(BaseModel):
    """A part of the configuration: immutable, and strict about keys and types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)

    def digest(self) -> str:
        """Return twelve hex digits that change whenever a value does."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]
