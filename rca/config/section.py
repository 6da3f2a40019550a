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


def not_installed(what: str, package: str, extra: str, otherwise: str = "") -> ConfigError:
    """Build the error of a missing package.

    Args:
        what: The key, the file or the command that needs the package.
        package: The name of the package.
        extra: The extra of this project that installs it.
        otherwise: What to do instead, if there is a way without it.
    """
    fix = f"pip install 'rca-wsss[{extra}]'" + (f", or {otherwise}" if otherwise else "")
    return ConfigError(f"{what}: {package} is not installed; {fix}")


class Section(BaseModel):
    """A part of the configuration: immutable, and strict about keys and types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)

    def digest(self) -> str:
        """Return twelve hex digits that change whenever a value does."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]
