"""`rca export`: a trained network for others to use."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from rca.cli.app import HELP, app

SAMPLE = Path("data/embedded/voc12_animals_sample.tar")


@app.command(rich_help_panel=HELP)
def export(
    weights: Annotated[
        Path, typer.Argument(help="Trained network, `weights.safetensors` of `train-seg`.")
    ],
    out: Annotated[Path, typer.Option(help="File *.onnx or *.pt2, or folder.", show_default=False)],
    form: Annotated[
        Literal["onnx", "torch", "huggingface"],
        typer.Option(
            "--format",
            help="`onnx`: for ONNX Runtime. `torch`: a torch.export archive, which PyTorch loads "
            "without this package. `huggingface`: a folder with a model card.",
        ),
    ] = "onnx",
    precision: Annotated[
        Literal["float32", "float16"], typer.Option(help="Of the weights in an ONNX file.")
    ] = "float32",
    photographs: Annotated[
        Path,
        typer.Option(
            help="Folder or archive; the exported network must agree with the original on them."
        ),
    ] = SAMPLE,
    results: Annotated[
        Path | None,
        typer.Option(
            help="Of the run that trained the network, `results/<experiment>`: data, signals and "
            "scores for the model card.",
            show_default="without: unknown",
        ),
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option(
            help="Of the weights, for the model card, as the Hub names it.",
            show_default="without: unknown",
        ),
    ] = None,
) -> None:
    """Write a trained network as ONNX, as a torch.export archive, or as a Hugging Face folder."""
    from rca.export import formats

    formats.export(
        weights,
        out=out,
        form=form,
        precision=precision,
        photographs=photographs,
        results=results,
        licence=licence,
    )
    print(out)
