"""The record of an output folder: its settings, and the photographs that are done.

`predict.json` holds what determines the masks; masks of other settings never go into the same
folder. `journal.jsonl` gets a line for each photograph once all its files are there. The lines stay
on disk; only their offsets are in memory.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rca.config import ConfigError
from rca.data.checksums import sha256_of
from rca.inference.outputs import Row, Stamp
from rca.runtime.code import code_digest
from rca.runtime.files import write_json
from rca.runtime.state import LIBRARIES

SETTINGS, JOURNAL = "predict.json", "journal.jsonl"


class Journal:
    """The journal of an output folder: the photographs that are done, by name."""

    def __init__(self, out: Path) -> None:
        """Open the journal of `out`, or start one; an incomplete last line is removed."""
        self._file = (out / JOURNAL).open("a+b")
        self._starts: dict[str, int] = {}
        self._file.seek(0)
        start = 0
        for line in self._file:
            if not line.endswith(b"\n"):
                self._file.truncate(start)
                break
            self._starts[json.loads(line)["name"]] = start
            start += len(line)

    def add(self, row: Row) -> None:
        """Record a photograph; of several records, the last one counts."""
        self._file.seek(0, os.SEEK_END)
        self._starts[row.name] = self._file.tell()
        self._file.write(json.dumps(asdict(row)).encode() + b"\n")
        self._file.flush()

    def get(self, name: str) -> Row | None:
        """Return the record of a photograph, or None."""
        if name not in self._starts:
            return None
        self._file.seek(self._starts[name])
        values = json.loads(self._file.readline())
        values["stamp"] = Stamp(**values["stamp"])
        return Row(**values)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def claim(out: Path, values: Mapping[str, Any]) -> None:
    """Make `out` the folder for the masks that `values` determine, or resume in it.

    Partially written files of a killed run are removed.

    Raises:
        ConfigError: The folder cannot be made, or holds masks of other values or foreign files.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{out}: cannot be a folder for masks ({error.strerror})") from None
    values = json.loads(json.dumps(values))
    try:
        there = json.loads((out / SETTINGS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        if any(not file.name.startswith(".") for file in out.iterdir()):
            raise ConfigError(
                f"{out}: holds files that `rca predict` did not write; give a new folder"
            ) from None
        write_json(out / SETTINGS, values)
        return
    except ValueError as error:
        raise ConfigError(f"{out / SETTINGS}: not valid JSON ({error}); delete {out}") from None
    if differences := list(_differences(there, values)):
        raise ConfigError(
            f"{out}: holds masks of other settings; give another --out, or delete it\n  "
            + "\n  ".join(differences)
        )
    for place, _, files in os.walk(out):
        for name in files:
            if name.startswith(".") and name.endswith(".partial"):
                Path(place, name).unlink(missing_ok=True)


def origin_of(weights: Sequence[Path], *modules: str) -> dict[str, Any]:
    """Return digests of weights and of modules' code, and the versions of the libraries."""
    return {
        "weights": [sha256_of(file) for file in weights],
        "code": [code_digest(module) for module in modules],
        "libraries": {name: version(name) for name in LIBRARIES},
    }


def _differences(there: Mapping[str, Any], here: Mapping[str, Any], key: str = "") -> list[str]:
    """Return a line for every value that differs."""
    lines = []
    for name in dict.fromkeys([*there, *here]):
        old, new = there.get(name), here.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            lines += _differences(old, new, f"{key}{name}.")
        elif old != new:
            lines.append(f"{key}{name}: {_shown(old)} there, now {_shown(new)}")
    return lines


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}…"
