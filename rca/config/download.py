"""Section `download`: which data set is brought, and from where."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from rca.config.section import Section


class _Source(Section):
    """What every source is told."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$",
        description="Folder under `data/` that the data set goes to, in place of what is there.",
    )

    @field_validator("name")
    @classmethod
    def _harms_no_other(cls, name: str) -> str:
        if name in ("embedded", "archives"):
            raise ValueError(f"data/{name} is no data set's folder; choose another name")
        return name


class ArchiveSource(_Source):
    """A tar archive of a folder that is laid out as `index` reads it."""

    source: Literal["archive"]
    archive: Path = Field(description="Tar archive of a VOC-like folder.")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of `archive`.")


class Voc12AugSource(_Source):
    """PASCAL VOC 2012 with the masks of the Semantic Boundaries Dataset (SBD)."""

    source: Literal["voc12_aug"]
    have: Path | None = Field(
        None,
        description="Folder with archives that you have already; they are checked and used where "
        "they lie. The others go to `data/archives/`.",
    )
    tags: Literal["all", "without_difficult"] = Field(
        "all",
        description="Image tags from every annotated object, or from those that VOC does not mark "
        "as `difficult`.",
    )


Download = Annotated[ArchiveSource | Voc12AugSource, Field(discriminator="source")]
