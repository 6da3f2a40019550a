"""The ONNX format: one file with the network, its labels and how to prepare an image."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch

from rca.config import not_installed
from rca.export.program import EXAMPLE, PortableNetwork, Precision, dynamic_shapes
from rca.inference.onnx_network import INPUT, OUTPUT
from rca.models.deeplab import DeepLab

OPSET = 20


def require_packages() -> None:
    """Make sure that ONNX files can be written and run.

    Raises:
        ConfigError: A package is missing.
    """
    for name in ("onnx", "onnxscript", "onnxruntime"):
        try:
            __import__(name)
        except ImportError:
            raise not_installed("export", name, "export") from None


def write_onnx(
    path: Path, network: DeepLab, metadata: Mapping[str, str], precision: Precision = "float32"
) -> None:
    """Write the network as an ONNX file.

    Args:
        path: The path of the file.
        network: The network, in evaluation mode.
        metadata: The description that the file holds, as text by key.
        precision: The precision of weights and features; input and output are always float32.
    """
    import onnx

    portable = PortableNetwork(network, precision)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # from PyTorch's own code
        program = torch.onnx.export(
            portable,
            (torch.zeros(EXAMPLE),),
            dynamo=True,
            dynamic_shapes=dynamic_shapes(),
            input_names=[INPUT],
            output_names=[OUTPUT],
            opset_version=OPSET,
            external_data=False,
            verbose=False,
        )
    assert program is not None  # with `dynamo`, one is returned
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()  # stack traces, which contain local paths
    program.model.metadata_props.update(metadata)
    program.save(path, external_data=False)
    onnx.checker.check_model(path, full_check=True)
