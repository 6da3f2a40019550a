"""`rca export`: a trained network as a file or a folder that others can use."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from rca.config import ConfigError
from rca.export import huggingface, onnx_model, torch_program
from rca.export.agreement import compare, read_photographs, require
from rca.export.description import as_text, describe
from rca.export.model_card import model_card, read_run
from rca.export.program import Precision
from rca.inference.model import load
from rca.inference.onnx_network import OnnxNetwork
from rca.models.deeplab import DeepLab

Format = Literal["onnx", "torch", "huggingface"]
SUFFIX = {"onnx": ".onnx", "torch": ".pt2"}
DESCRIPTION = "description.json"  # in the archive of torch.export


def export(
    weights: Path,
    *,
    out: Path,
    form: Format,
    precision: Precision = "float32",
    photographs: Path,
    results: Path | None = None,
    licence: str | None = None,
) -> None:
    """Write the network in another form, checked against the original before it is kept.

    Args:
        weights: The trained network, as `rca.load` takes it.
        out: The file `.onnx` or `.pt2`, or the folder for `huggingface`.
        form: The format to write.
        precision: The precision of the weights in an ONNX file.
        photographs: The folder or archive of photographs, on which the exported network must agree
            with the original.
        results: The results of the run that trained the network, for the model card.
        licence: The licence of the weights, for the model card.

    Raises:
        ConfigError: A package is missing, the options do not go together, the weights are not
            usable, or the exported network does not compute what the original does.
    """
    _refuse_what_does_not_fit(out, form, precision, results, licence)
    if form == "onnx":
        onnx_model.require_packages()
    model = load(weights, device="cpu")
    if not isinstance(model.network, DeepLab):
        raise ConfigError(f"{weights}: is exported already; give the network's weights")
    description = describe(model, precision)
    if form == "huggingface":
        run = read_run(results, model.files[0]) if results else None
        card = model_card(model, name=out.resolve().name, run=run, licence=licence)
        huggingface.write_folder(out, model, description, card)
        return
    images = read_photographs(photographs)
    out.parent.mkdir(parents=True, exist_ok=True)
    # Only the folder is temporary, not the file's name: torch.export writes the name into the file.
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
        file = Path(folder, out.name)
        exported = _written(file, model.network, form, description, precision)
        require(compare(model.network, exported, images), precision, str(out))
        os.replace(file, out)


def _written(
    file: Path,
    network: DeepLab,
    form: Format,
    description: dict[str, Any],
    precision: Precision,
) -> Callable[[Tensor], Tensor]:
    """Write the file, and open it as any user would."""
    if form == "onnx":
        onnx_model.write_onnx(file, network, as_text(description), precision)
        return OnnxNetwork(file)
    text = json.dumps(description, indent=2)
    torch_program.write_program(file, network, {DESCRIPTION: text})
    return torch_program.read_program(file)


def _refuse_what_does_not_fit(
    out: Path, form: Format, precision: Precision, results: Path | None, licence: str | None
) -> None:
    """Refuse options of another format, instead of ignoring them."""
    if form in SUFFIX and out.suffix != SUFFIX[form]:
        raise ConfigError(f"{out}: a file of format {form} is called *{SUFFIX[form]}")
    if form == "huggingface" and (out.is_file() or out.suffix in SUFFIX.values()):
        raise ConfigError(f"{out}: format huggingface writes a folder, and this names a file")
    if precision != "float32" and form != "onnx":
        raise ConfigError(f"precision {precision} goes with format onnx only")
    if form != "huggingface" and (results or licence):
        raise ConfigError("--results and --licence are for the model card of format huggingface")
