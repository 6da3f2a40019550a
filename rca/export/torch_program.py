"""The format of torch.export: a program that PyTorch loads without this package."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from rca.export.program import capture
from rca.models.deeplab import DeepLab


def write_program(path: Path, network: DeepLab, metadata: Mapping[str, str]) -> None:
    """Write the network as a `.pt2` archive; `metadata` become its extra files."""
    program = capture(network)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # contains local paths
    torch.export.save(program, path, extra_files=dict(metadata))


def read_program(path: Path) -> Callable[[Tensor], Tensor]:
    """Load a `.pt2` archive as a function of images."""
    return torch.export.load(path).module()
