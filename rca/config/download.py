"""Section `download`: which data set to fetch, and from where."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from rca.config.section import Section

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Source(Section):
    """The keys that every source has."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$",
        description="Folder under `data/` for the data set; replaces what is there.",
    )

    @field_validator("name")
    @classmethod
    def _harms_no_other(cls, name: str) -> str:
        if name in ("embedded", "archives"):
            raise ValueError(f"data/{name} is not for a data set; choose another name")
        return name

    @model_validator(mode="after")
    def _clears_no_file_of_the_user(self) -> Self:
        """Refuse a name whose folder holds files of the user: the stage and DVC clear it first."""
        if lost := self.lost_with(Path("data") / self.name):
            raise ValueError(lost)
        return self

    def lost_with(self, out: Path) -> str | None:
        """Return a message if `out`, which is cleared first, holds a file or folder of the user."""
        for key, path in self:
            if isinstance(path, Path) and out.resolve() in (
                path.resolve(),
                *path.resolve().parents,
            ):
                return f"{key}: {path} is in {out}, which is cleared first; move it, or rename"
        return None


class ArchiveSource(_Source):
    """A tar archive of a folder in the layout that `index` reads."""

    source: Literal["archive"]
    archive: Path = Field(description="Tar archive of a VOC-like folder.")
    sha256: Sha256 = Field(description="SHA-256 of `archive`.")


class Voc12AugSource(_Source):
    """PASCAL VOC 2012 with the masks of the Semantic Boundaries Dataset (SBD)."""

    source: Literal["voc12_aug"]
    have: Path | None = Field(
        None,
        description="Folder with archives that you already have; they are verified and used in "
        "place. The others are downloaded to `data/archives/`.",
    )
    test: bool = Field(
        False,
        description="Also fetch the 1,456 test images, whose masks only VOC's evaluation server "
        "has.",
    )
    tags: Literal["all", "without_difficult", "list"] = Field(
        "all",
        description="Where image tags come from: all annotated objects, those that VOC does not "
        "mark as `difficult`, or `tags_list`. The choice changes the numbers: the paper's released "
        "tags are 903 fewer than those of all objects, in 817 of 10,582 images.",
    )
    tags_list: Path | None = Field(
        None,
        description="For `list`: a CSV file with the columns image and tags (separated by spaces). "
        "Images used only for validation may be missing; their tags then come from all objects.",
    )
    tags_sha256: Sha256 | None = Field(None, description="SHA-256 of `tags_list`.")

    saliency: Path | None = Field(
        None,
        description="Archive (tar or zip) of saliency maps `<image>.png` of the training images, "
        "for `pseudo_labels.background: saliency`. VOC and SBD have none. Saliency is a cue beyond "
        "tags.",
    )
    saliency_sha256: Sha256 | None = Field(None, description="SHA-256 of `saliency`.")

    @model_validator(mode="after")
    def _files_come_with_their_digests(self) -> Voc12AugSource:
        given = (self.tags_list is not None, self.tags_sha256 is not None)
        if given != (self.tags == "list",) * 2:
            raise ValueError("tags_list and tags_sha256 are needed with tags: list, and only then")
        if (self.saliency is None) != (self.saliency_sha256 is None):
            raise ValueError("saliency and saliency_sha256 go together")
        return self


class Coco14Source(_Source):
    """COCO 2014: 80 classes, with masks drawn from the annotated instances."""

    source: Literal["coco14"]
    have: Path | None = Field(
        None,
        description="Folder with a COCO that you already have: unpacked (`train2014/`, `val2014/`, "
        "`annotations/`; photographs are linked), or its zip archives, which are verified and used "
        "in place. The others are downloaded to `data/archives/`.",
    )


class FolderSource(_Source):
    """Your own photographs with their tags; masks are optional."""

    source: Literal["folder"]
    folder: Path = Field(
        description="Folder of photographs with `tags.csv` (columns image, tags and, optionally, "
        "split), or with one sub-folder per class, optionally within `train/` and `val/`. Masks "
        "go in `masks/`."
    )
    val_share: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.2, description="Fraction of the photographs for validation, if no split is given."
    )
    val_seed: int = Field(0, ge=0, description="Seed of the choice of these photographs.")
    on_bad_file: Literal["error", "skip"] = Field(
        "error",
        description="What to do with photographs and masks that cannot be read, photographs "
        "without a row in tags.csv, and rows without a photograph: stop and name them, or skip "
        "them and list them in `skipped.csv`.",
    )

    def lost_with(self, out: Path) -> str | None:
        """Also refuse a folder that holds `out`, whose photographs would count as the user's."""
        if self.folder.resolve() in out.resolve().parents:
            return f"folder: {self.folder} holds {out}; name a folder of photographs alone"
        return super().lost_with(out)


Download = Annotated[
    ArchiveSource | Voc12AugSource | Coco14Source | FolderSource, Field(discriminator="source")
]
