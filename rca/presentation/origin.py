"""Where the results come from, as the report states it: only what is the same in every run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rca.data.checksums import sha256_of
from rca.data.nested import flat
from rca.evaluation.protocol import UNSTATED
from rca.tracking.provenance import SCORES

DIGITS = 16  # of a digest: enough to tell files apart
SHA256 = re.compile(r"[0-9a-f]{64}")


def origin(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """List the terms of the origin with their texts: seed, data, images, signals.

    A file of an older version, or from elsewhere, may lack any of them.
    """
    how = metrics["protocol"]
    data = how.get("data", {})
    rows = [("Seed", str(metrics.get("seed", UNSTATED))), ("Data", _data(data))]
    rows += [
        (f"Digest of {_file(key)}", f"SHA-256 {value[:DIGITS]}…")
        for key, value in flat(data)
        if SHA256.fullmatch(str(value))
    ]
    rows += [
        (
            {"train": "Training images", "val": "Validation images"}[split],
            f"{images['images']} scored, list {images['list']}, digest {images['digest']}",
        )
        for split, images in how.get("image_sets", {}).items()
    ]
    rows.append(("Learnt from", ", ".join(how.get("signals", [UNSTATED]))))
    return rows


def scores_digest(results: Path) -> str:
    """Compute the SHA-256 of `metrics.json`, by which a repeated run is recognised."""
    return sha256_of(results / SCORES)


def _data(data: Mapping[str, Any]) -> str:
    """State the name and source of the data set, as far as they are recorded."""
    stated = (data.get(key, UNSTATED) for key in ("name", "source"))
    known = [text for text in stated if text != UNSTATED]
    return ", from source ".join(known) or UNSTATED


def _file(key: str) -> str:
    """Name what a digest is of by its dotted key: `archives.a.tar` → `a.tar`."""
    return key.removeprefix("archives.").removesuffix("_sha256")
