"""Checkpoints: the whole state of a training, from which a killed one resumes unchanged.

A checkpoint is one safetensors file: the tensors and, in its metadata, the rest as JSON with a
checksum over both. It is no pickle, so reading one runs no code.
"""

from __future__ import annotations

import json
import logging
import shutil
import signal
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from rca.runtime.files import new_file
from rca.training import distributed

log = logging.getLogger(__name__)

KEPT = 2  # the latest, and the one before in case the latest is damaged
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class Part(Protocol):
    """Something that changes in training: a module, an optimiser, a random state."""

    def state_dict(self) -> Mapping[str, Any]:
        """Return all that changes, as dicts, lists, tensors and JSON values."""

    def load_state_dict(self, state: dict[str, Any], /) -> Any:
        """Restore a state that `state_dict` returned."""


class GeneratorState:
    """A generator as a `Part` of a training; each process has its own."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def state_dict(self) -> dict[str, Tensor]:
        """Gather the states of all processes, one per row."""
        own = self.generator.get_state()[None].to(distributed.device())
        return {"states": distributed.gather(own).cpu()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore the state of this process's generator."""
        # A copy, since `set_state` does not accept a view.
        self.generator.set_state(state["states"][distributed.rank()].clone())


class Checkpoints:
    """The checkpoints of one training; the last two are kept.

    Args:
        folder: The folder of this training alone, as `state_folder` names it.
        every: The number of steps between two checkpoints; with 0, one is written only when a
            signal asks the training to stop.
        parts: The parts of the training to save, by name.
    """

    def __init__(self, folder: Path, every: int, parts: Mapping[str, Part]) -> None:
        self.folder, self.every, self.parts = folder, every, dict(parts)
        self.steps = 0  # since the last checkpoint
        self.stopped_by: int | None = None  # the signal that was received

    def restore(self, **more: Part) -> None:
        """Restore all parts from the latest intact checkpoint; without one, leave them as they are.

        A damaged checkpoint is renamed, and the one before it is used.

        Args:
            more: Further parts, which the loop adds.
        """
        self.parts |= more
        files = self._files() if distributed.is_rank_zero() else []
        whole = next((file for file in reversed(files) if _is_whole(file)), None)
        number = distributed.greatest_of_all(_number(whole) if whole else -1)
        if number < 0:
            return
        file = self._file(number)
        state = read_state(file)
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
        log.info("resuming after step %d (%s)", number, file)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Record SIGTERM and SIGUSR1 in the `with` block, and obey them after the current step."""
        before = {number: signal.signal(number, self._note) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def after_step(self, number: int) -> None:
        """Write a checkpoint if one is due, and exit if a signal was received.

        Args:
            number: The number of steps since the training began.

        Raises:
            SystemExit: A signal was received; the exit status is 128 + its number, as in a shell.
        """
        self.steps += 1
        stopped_by = distributed.greatest_of_all(self.stopped_by or 0)
        if stopped_by or self.steps == self.every:
            self._write(number)
            self.steps = 0
        if stopped_by:
            name = signal.Signals(stopped_by).name
            log.warning("%s: stopped after step %d; run again to go on from there", name, number)
            raise SystemExit(128 + stopped_by)

    def remove(self) -> None:
        """Remove all checkpoints, once the result is written."""
        if distributed.is_rank_zero():
            shutil.rmtree(self.folder, ignore_errors=True)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.stopped_by = number

    def _write(self, number: int) -> None:
        # In every process, since a part may gather the states of all of them.
        state = {name: part.state_dict() for name, part in self.parts.items()}
        if distributed.is_rank_zero():
            write_state(self._file(number), state)
            for old in self._files()[:-KEPT]:
                old.unlink(missing_ok=True)

    def _file(self, number: int) -> Path:
        return self.folder / f"step-{number:09d}.safetensors"

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("step-*.safetensors"))


def _number(file: Path) -> int:
    return int(file.stem.removeprefix("step-"))


def _is_whole(file: Path) -> bool:
    """Check whether a checkpoint can be read; rename one that cannot."""
    try:
        read_state(file)
    except ValueError as error:
        aside = file.with_suffix(".damaged")
        file.replace(aside)
        log.warning("%s: damaged (%s); set aside as %s", file, error, aside.name)
        return False
    return True


def write_state(path: Path, state: Any) -> None:
    """Write a tree of dicts, lists, tensors and JSON values, completely or not at all.

    The keys of a dict may be numbers, as in an optimiser's state.
    """
    tensors: dict[str, Tensor] = {}
    tree = json.dumps(_pack(state, "", tensors))
    metadata = {"rca": json.dumps({"tree": tree, "checksum": _checksum(tree, tensors)})}
    with new_file(path) as partial:
        save_file(tensors, partial, metadata)


def read_state(path: Path) -> Any:
    """Read a tree that `write_state` wrote, with its tensors on the CPU.

    Raises:
        ValueError: The file cannot be read, or its checksum does not match.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = json.loads(file.metadata()["rca"])
        tensors = load_file(path)
    except (SafetensorError, OSError, TypeError, KeyError) as error:
        raise ValueError(f"cannot be read: {error}") from None
    if metadata["checksum"] != _checksum(metadata["tree"], tensors):
        raise ValueError("checksum mismatch")
    return _unpack(json.loads(metadata["tree"]), tensors)


def _pack(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """Convert a tree to JSON values, moving its tensors to `tensors`."""
    if isinstance(value, Tensor):
        # safetensors does not store the memory format, and another one slows the optimiser down.
        last = value.dim() == 4 and value.is_contiguous(memory_format=torch.channels_last)
        tensors[name] = value.detach().cpu().contiguous()
        return {"tensor": name, "channels_last": last and not value.is_contiguous()}
    if isinstance(value, Mapping):
        items = [[key, _pack(item, f"{name}/{key}", tensors)] for key, item in value.items()]
        return {"items": items}
    if isinstance(value, list | tuple):
        return [_pack(item, f"{name}/{number}", tensors) for number, item in enumerate(value)]
    return value


def _unpack(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_unpack(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if "items" in value:
        return {key: _unpack(item, tensors) for key, item in value["items"]}
    layout = torch.channels_last if value["channels_last"] else torch.contiguous_format
    return tensors[value["tensor"]].contiguous(memory_format=layout)


def _checksum(tree: str, tensors: Mapping[str, Tensor]) -> int:
    checksum = zlib.crc32(tree.encode())
    for name in sorted(tensors):
        checksum = zlib.crc32(tensors[name].flatten().view(torch.uint8).numpy().data, checksum)
    return checksum
