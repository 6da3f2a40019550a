"""The checks of data sets by name: what they look for, how severe it is, and how to fix it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rca.data.images import DataError

Severity = Literal["error", "warning"]
SHOWN = 20


@dataclass(frozen=True)
class Check:
    """A check of a data set.

    Attributes:
        title: What the check looks for, in plain words.
        severity: The severity: `error` stops stage `index`; `warning` does not, but is worth a
            look.
        fix: What to do about it.
    """

    title: str
    severity: Severity
    fix: str


SKIP = "or set download.on_bad_file: skip"
# Only source `folder` can find these, before it normalises the files.
ON_IMPORT = {
    "mask_turned": Check(
        "masks of photographs that EXIF turns",
        "error",
        "turn the photograph's own pixels (`exiftran -a`), so that the mask fits as it is",
    ),
    "photo_unread": Check(
        "photographs that cannot be read", "error", f"save it again as JPEG, {SKIP}"
    ),
    "mask_unread": Check("masks that cannot be read", "error", f"save it again as PNG, {SKIP}"),
    "row_missing": Check(
        "photographs that nothing says the tags of",
        "error",
        f"add a row (an empty cell if it shows none of the classes), or move it, {SKIP}",
    ),
    "file_missing": Check(
        "rows without a photograph", "error", f"correct the name, or remove the row, {SKIP}"
    ),
    "row_unclear": Check("rows for one of several photographs", "error", f"say which, {SKIP}"),
    "split_twice": Check("photographs in two splits", "error", "keep it in one"),
    "name_clash": Check("photographs that would have one name", "error", "rename one of the two"),
    "name_odd": Check("names that cannot be stored", "error", f"rename it, {SKIP}"),
    "tag_reserved": Check(
        "names that no class can have",
        "error",
        "rename the class; a photograph of none has an empty cell in tags.csv",
    ),
    "tag_alike": Check(
        "classes whose names look alike", "warning", "if it is one class, write it in one way"
    ),
    "class_thin": Check(
        "classes that can hardly be learnt",
        "warning",
        "add photographs, with it and without it, or leave it out of index.classes",
    ),
    "mask_stray": Check(
        "masks that are not used", "warning", "call it like its photograph, as PNG"
    ),
    "table": Check("tables in another encoding", "warning", "save it as CSV UTF-8"),
}
SKIPPED = {name for name, check in ON_IMPORT.items() if check.fix.endswith(SKIP)}

CHECKS = {
    "layout": Check(
        "missing or faulty files of the set",
        "error",
        "run `rca download` first, or complete the folder",
    ),
    "class": Check("chosen classes that the set has not", "error", "correct index.classes"),
    "list": Check("faulty lists", "error", "correct the list"),
    "leak_name": Check(
        "leaks between splits, by name", "error", "take it off one of the two lists"
    ),
    "leak_bytes": Check(
        "leaks between splits, same bytes", "error", "take one of the two off its list"
    ),
    "leak_pixels": Check(
        "leaks between splits, same decoded pixels", "error", "take one of the two off its list"
    ),
    "leak_looks": Check(
        "leaks between splits, photographs that look the same",
        "warning",
        "look at the two; if one is a copy of the other, take it off its list",
    ),
    "copy": Check("copies within a split", "warning", "keep one of them, with the tags of both"),
    "tags_missing": Check(
        "images without a row of tags", "error", "add it; an image without tags has an empty cell"
    ),
    "tag_unknown": Check(
        "tags that are no class", "error", "correct the tag, or add the class to classes.txt"
    ),
    "image": Check("undecodable images", "error", "fetch it again"),
    "mask": Check("undecodable masks", "error", "fetch it again"),
    "mask_mode": Check(
        "masks in colours", "error", "save its values as a palette or grey PNG of 8 bits"
    ),
    "mask_size": Check("masks of another size than their image", "error", "make the two agree"),
    "mask_value": Check(
        "values in masks that are no class", "error", "correct them, or add the class"
    ),
    "mask_gap": Check(
        "masks for a part of a split only", "error", "add the mask, or take the split's others away"
    ),
    "mask_part": Check(
        "masks for a part of the photographs",
        "warning",
        "nothing to do: those with a mask are scored, the others are used without",
    ),
    "saliency": Check("faulty saliency maps", "error", "make it again, 8-bit grey, for each image"),
    "untagged": Check("images without tags", "warning", "see whether their tags were forgotten"),
    "tag_without_pixels": Check(
        "tags without pixels in the mask",
        "warning",
        "see whether tag or mask is wrong; tiny and `difficult` objects are common reasons",
    ),
    "pixels_without_tag": Check(
        "pixels in the mask without a tag",
        "warning",
        "add the tag: the class would be learnt as absent from this image",
    ),
    "mask_palette": Check(
        "masks with other colours than VOC's",
        "warning",
        "look at it: a program that re-coloured it may have re-numbered its values",
    ),
    "exif": Check(
        "images that EXIF turns",
        "warning",
        "turn the pixels themselves; `download.source: folder` does so on import",
    ),
    "cmyk": Check("images in CMYK", "warning", "convert it to RGB with its colour profile"),
    "grey": Check("images in grey", "warning", "nothing to do: it is read as RGB"),
    "alpha": Check(
        "images with transparency", "warning", "lay it on a background; transparency is dropped"
    ),
    "large": Check(
        "very large photographs",
        "warning",
        "scale it down; if memory suffices, lower crf.processes",
    ),
    **ON_IMPORT,
    "unlisted": Check(
        "files that no list names", "warning", "add it to a list, or take it out of the folder"
    ),
}


@dataclass(frozen=True)
class Finding:
    """A fault: the check that found it, the file or key, a description, and the images."""

    check: str
    file: Path | str
    what: str
    images: tuple[str, ...] = ()

    @property
    def severity(self) -> Severity:
        """The severity of the check: `error` or `warning`."""
        return CHECKS[self.check].severity

    @property
    def fix(self) -> str:
        """What to do about it."""
        return CHECKS[self.check].fix

    def __str__(self) -> str:
        return f"{self.file}: {self.what}"


def of_error(check: str, file: Path, error: DataError, *images: str) -> Finding:
    """Turn an error `file: what; fix` into a finding, whose check has a fix of its own."""
    what = str(error).removeprefix(f"{file}: ").rsplit("; ", 1)[0]
    return Finding(check, file, what, images)


def refuse(
    root: Path, findings: Sequence[Finding], verb: str = "indexed", look: str = "rca data doctor"
) -> None:
    """Raise an exception if there are errors among the findings.

    Args:
        root: The data set.
        findings: The errors and warnings.
        verb: The participle of what cannot be done with the data set.
        look: The command that shows all findings.

    Raises:
        DataError: There are errors; the message lists them, the first 20 in full.
    """
    errors = [finding for finding in findings if finding.severity == "error"]
    if not errors:
        return
    counts = Counter(finding.check for finding in errors)
    lines = [f"  {finding}; {finding.fix}" for finding in errors[:SHOWN]]
    if len(errors) > SHOWN:
        lines.append(f"  … and {len(errors) - SHOWN} more; `{look}` shows them all")
        kinds = ", ".join(f"{CHECKS[name].title} ({count})" for name, count in counts.items())
        lines.append(f"  in all: {kinds}")
    count = "1 fault" if len(errors) == 1 else f"{len(errors)} faults"
    raise DataError("\n".join([f"{root} cannot be {verb}, {count} to correct:", *lines]))
