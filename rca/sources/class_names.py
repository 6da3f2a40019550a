"""Checks of classes: reserved names, two spellings of one name, and classes too rare to learn."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from difflib import SequenceMatcher
from itertools import combinations
from pathlib import Path

from rca.checks.findings import Finding

MOST = 254  # label maps have 8 bits, and 0 and 255 are taken
ALIKE = 0.8  # difflib's ratio: one letter added or dropped, or two swapped
RARE = 0.1  # a misspelling is rarer than the correct name
# Names that people give to pixels or photographs without a class.
RESERVED = {
    "background", "bg", "ignore", "ignored", "n/a", "nan", "none", "null", "unlabeled",
    "unlabelled", "void",
}  # fmt: skip


def name_findings(where: Path, counts: Mapping[str, int]) -> Iterator[Finding]:
    """Find reserved names, look-alike names, and more classes than a mask can hold.

    Args:
        where: The table, folder or `classes.txt` that the names come from.
        counts: The number of photographs of each class.
    """
    for name in counts:
        if name.strip("_").casefold() in RESERVED:
            what = (
                f"{name!r} is reserved: what belongs to no class is background without being told"
            )
            yield Finding("tag_reserved", where, what)
        elif ";" in name:
            yield Finding("tag_reserved", where, f"{name!r} holds a `;`, which sets tags apart")
    if len(counts) > MOST:
        yield Finding("tag_reserved", where, f"{len(counts)} classes; a mask holds at most {MOST}")
    for one, other in combinations(sorted(counts), 2):
        rare, common = sorted((one, other), key=lambda name: (counts[name], name))
        if _plain(one) == _plain(other):
            how = "differ in capitals or marks alone"
        elif counts[rare] <= max(1, RARE * counts[common]) and _alike(one, other):
            how = "look alike"
        else:
            continue
        what = f"{rare!r} ({counts[rare]}) and {common!r} ({counts[common]}) {how}"
        yield Finding("tag_alike", where, what)


def share_findings(
    where: Path, tagged: Iterable[tuple[str | None, Iterable[str]]]
) -> list[Finding]:
    """Find classes that can hardly be learnt.

    Args:
        where: The table or folder that the tags come from.
        tagged: The split and the tags of each photograph.
    """
    photographs = [(split, set(tags)) for split, tags in tagged]
    counts = Counter(name for _, tags in photographs for name in tags)
    trained = Counter(name for split, tags in photographs if split == "train" for name in tags)
    training = sum(split == "train" for split, _ in photographs)
    findings = []
    for name, count in sorted(counts.items()):
        if count == 1:
            what = f"{name!r} is in a single photograph"
        elif not trained[name]:
            what = f"{name!r} is in no photograph of train"
        elif trained[name] == training > 1:
            what = f"{name!r} is in every photograph of train, and so nothing tells what it is not"
        else:
            continue
        findings.append(Finding("class_thin", where, what))
    return findings


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name.casefold()) or name


def _alike(one: str, other: str) -> bool:
    first, second = sorted((one.casefold(), other.casefold()), key=len)
    if second == f"{first}s":
        return True
    # Short names resemble each other by chance: cat and car, cow and crow.
    if len(first) < 5:
        return False
    matcher = SequenceMatcher(None, first, second, autojunk=False)
    return matcher.real_quick_ratio() >= ALIKE and matcher.ratio() >= ALIKE
