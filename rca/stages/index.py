"""Stage `index`: validate the data set's folder, and write the one table that later stages read."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rca.checks.dataset_checks import dataset_findings
from rca.checks.findings import CHECKS, Finding, refuse
from rca.checks.inspection import Inspection, inspect_all
from rca.config import IndexSection
from rca.data.checksums import SUMS, sha256_of
from rca.data.images import DataError
from rca.data.index import Index, Record, write_index
from rca.data.voc_folder import VocFolder, label_palette, label_values, read_list, read_voc
from rca.runtime.files import new_folder, write_text
from rca.runtime.text_table import aligned

log = logging.getLogger(__name__)


def run(cfg: IndexSection, *, data: Path, out: Path) -> None:
    """Check a VOC-like folder and write its index.

    Training images without a tag of the chosen classes are left out, unless `cfg` keeps them.
    `SHA256SUMS` has the digest of every file that the index names, as `sha256sum` writes them. So
    whatever depends on the index depends on the contents of the data set, and need not read it all.

    Args:
        cfg: The section `index`.
        data: The VOC-like folder.
        out: The folder that gets the index.

    Raises:
        DataError: The folder cannot be used; the message lists all faults found.
    """
    folder = read_voc(data)
    chosen = cfg.classes or list(folder.classes)
    lists = [
        read_list(data, "train", cfg.train_list, cfg.limit),
        read_list(data, "val", cfg.val_list, cfg.limit),
    ]
    found = inspect_all(folder, [image for names in lists for image in names.images])
    findings = dataset_findings(folder, chosen, lists, found)
    refuse(data, findings)
    _report_warnings(data, findings)

    records = [
        _record(folder, chosen, names.split, image, found[image])
        for names in lists
        for image in sorted(names.images)
    ]
    index = Index(
        root=data,
        classes=tuple(chosen),
        mask_values=label_values(folder.classes, chosen),
        palette=label_palette(folder.classes, chosen),
        records=tuple(
            record
            for record in records
            if record.tags or record.split != "train" or cfg.untagged == "keep"
        ),
        source=folder.source,
    )
    tagged = sum(bool(record.tags) for record in index.split("train"))
    _report_untagged(data, len(lists[0].images), tagged, cfg.untagged)
    with new_folder(out) as partial:
        write_index(partial, index)
        write_text(partial / SUMS, "".join(_sums(index, found)))
    log.info("%s: images per class\n%s", out, counts_table(index))


def _sums(index: Index, found: Mapping[str, Inspection]) -> Iterator[str]:
    """Yield a line for each file, its path relative to the data set."""
    for record in index.records:
        yield f"{found[record.image].digest}  {record.file.relative_to(index.root).as_posix()}\n"
        for path in (record.mask, record.saliency):
            if path:
                yield f"{sha256_of(path)}  {path.relative_to(index.root).as_posix()}\n"


def counts_table(index: Index) -> str:
    """Format the number of images per split and class as aligned text."""
    splits = [index.split(name) for name in ("train", "val")]
    rows = [("", "train", "val"), ("images", *(str(len(records)) for records in splits))]
    rows += [
        (name, *(str(sum(name in record.tags for record in records)) for records in splits))
        for name in index.classes
    ]
    return aligned(rows, indent=2)


def _record(
    folder: VocFolder, chosen: list[str], split: str, image: str, found: Inspection
) -> Record:
    assert found.size is not None, "an undecodable image is a fault, refused above"
    width, height = found.size
    return Record(
        image=image,
        split=split,
        file=folder.image(image),
        mask=folder.mask(image),
        saliency=folder.saliency(image),
        width=width,
        height=height,
        tags=tuple(name for name in chosen if name in folder.tags[image]),
    )


def _report_warnings(data: Path, findings: Sequence[Finding]) -> None:
    counts = Counter(CHECKS[finding.check].title for finding in findings)
    if counts:
        kinds = ", ".join(f"{title} ({count})" for title, count in counts.items())
        log.info("%s: worth a look, `rca data doctor` shows them: %s", data, kinds)


def _report_untagged(data: Path, listed: int, tagged: int, untagged: str) -> None:
    if not tagged:
        raise DataError(
            f"{data}: no training image has a tag of index.classes; choose other classes"
        )
    if tagged < listed:
        log.info(
            "%d of %d training images hold none of the classes and are %s",
            listed - tagged,
            listed,
            "kept" if untagged == "keep" else "left out",
        )
