"""What a killed stage leaves for its next run: `state/<stage>/<digest>/`.

The digest covers everything that determines the result. State of another configuration, of other
files or of other code is therefore never found, and needs no check of its own.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from rca.runtime.code import code_digest
from rca.runtime.files import new_folder, write_json

log = logging.getLogger(__name__)

Piece = TypeVar("Piece")

STATE = Path("state")
INPUTS = "inputs.json"
LIBRARIES = ("torch", "torchvision", "numpy", "pillow", "pydensecrf2")


class Shard(NamedTuple):
    """A share of a stage's work for a separate job: every `of`-th piece from the `number`-th."""

    number: int
    of: int

    def pick(self, pieces: Sequence[Piece]) -> Sequence[Piece]:
        """Pick the pieces of this shard; all shards together pick each piece exactly once."""
        return pieces[self.number - 1 :: self.of]


WHOLE = Shard(1, 1)


def state_folder(
    root: Path,
    module: str,
    out: Path,
    *,
    values: Mapping[str, Any],
    files: Iterable[Path],
    sums: Mapping[Path, str] | None = None,
) -> Path:
    """Return the folder for a result's partial work; create it if needed.

    Its name depends on the arguments, the stage's code and the versions of the libraries.
    `inputs.json` in the folder lists what went into the name.

    Args:
        root: The folder in which all stages keep their state.
        module: The stage's module, such as `rca.stages.crf`. Its code counts, and `crf` names the
            folder's parent.
        out: Where the result will be. Two results never share a state, however alike they are.
        values: What else determines the result, as JSON.
        files: The files that the stage reads; their contents count. A missing file is no error
            here: the stage itself reports it.
        sums: The SHA-256 of files that need not be read for it. The name is the same with and
            without.
    """
    inputs = {
        "out": Path(os.path.relpath(out)).as_posix(),
        "values": values,
        "files": _digest_of_files(files, sums or {}),
        "code": code_digest(module),
        "libraries": {name: version(name) for name in LIBRARIES},
    }
    folder = root / module.rpartition(".")[2] / _digest(inputs)
    if not (folder / INPUTS).is_file():
        write_json(folder / INPUTS, inputs)
    return folder


@contextmanager
def resumable_folder(
    out: Path, state: Path, names: Sequence[str], shard: Shard = WHOLE
) -> Iterator[Path]:
    """Yield a folder that survives a kill; when the block ends, its files `names` become `out`.

    Files already in it were written by an earlier run or by a shard. They belong to this result
    only if `state` comes from `state_folder`; whether they are complete, the caller must check.
    Once `out` is there, the state is removed. A shard publishes nothing and leaves its files there.
    """
    yield state
    if shard != WHOLE:
        return
    with new_folder(out) as folder:
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            _link(state / name, folder / name)
    shutil.rmtree(state, ignore_errors=True)


def merge(
    out: Path,
    state: Path,
    others: Iterable[str],
    names: Sequence[str],
    is_complete: Callable[[Path], bool],
) -> bool:
    """Make `out` of the files in a state that holds all of them; return whether there is one.

    Nothing is computed, so a machine without a GPU can merge what shards computed on GPUs.

    Args:
        out: The folder to make; it is either complete or absent.
        state: The state on this machine's kind of device, from `state_folder`, with a value
            `device`.
        others: Further kinds of device whose state may be taken.
        names: The files of the result.
        is_complete: The function that checks whether a state holds them all, undamaged.
    """
    inputs = json.loads((state / INPUTS).read_text(encoding="utf-8"))
    for device in others:
        inputs["values"]["device"] = device
        folder = state.with_name(_digest(inputs))
        if is_complete(folder):
            log.info("merging what was made on the device %s", device)
            with resumable_folder(out, folder, names):
                pass
            shutil.rmtree(state, ignore_errors=True)
            return True
    if complete := is_complete(state):
        with resumable_folder(out, state, names):
            pass
    return complete


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


def _digest(inputs: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]


def _digest_of_files(files: Iterable[Path], sums: Mapping[Path, str]) -> str:
    """Compute one digest of the names and contents of all `files`; `sums` are those known."""
    paths = sorted(set(files))
    unknown = [path for path in paths if path not in sums]
    with ThreadPoolExecutor(8) as readers:
        contents = {**sums, **dict(zip(unknown, readers.map(_content, unknown), strict=True))}
    listed = [[os.path.relpath(path), contents[path]] for path in paths]
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


def _content(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (FileNotFoundError, IsADirectoryError):
        return None
