"""`rca predict`: masks of photographs, by a trained segmentation network."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from rca.cli.app import HELP, app, path

SHOWN = 20  # failures; failed.csv has them all
OF_RUN = "that of the run"


def _scales(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a list of numbers such as 0.75,1,1.25") from None


@app.command(rich_help_panel=HELP)
def predict(
    photographs: Annotated[
        list[str],
        typer.Argument(
            metavar="PHOTOGRAPHS...",
            help="Files, folders with all below them, glob patterns in quotes, or a "
            ".txt with a path a line.",
            show_default=False,
        ),
    ],
    weights: Annotated[
        Path,
        path(
            "Trained network: its file, its folder, the folder of the experiment, or an .onnx "
            "file from rca export; or results/<experiment>/readout, for masks from prototypes."
        ),
    ],
    out: Annotated[Path, path("Folder that gets masks/ and predictions.csv.")],
    overlays: Annotated[
        bool, typer.Option("--overlays", help="Also draw the masks over the photographs.")
    ] = False,
    confidence: Annotated[
        bool,
        typer.Option("--confidence", help="Also write each pixel's confidence, as 16-bit PNG."),
    ] = False,
    coco: Annotated[bool, typer.Option("--coco", help="Also write coco.json.")] = False,
    label_studio: Annotated[
        str | None,
        typer.Option(
            metavar="PREFIX",
            help="Also write label_studio.json, to import; PREFIX and a photograph's path make "
            "its address, as in '/data/local-files/?d=photos/'.",
            show_default=False,
        ),
    ] = None,
    params: Annotated[
        Path | None,
        typer.Option(help="Parameter file to take infer_seg and crf from.", show_default=OF_RUN),
    ] = None,
    size: Annotated[
        int | None, typer.Option(help="Short side at scale 1, in pixels.", show_default=OF_RUN)
    ] = None,
    scales: Annotated[
        str | None, typer.Option(help="Factors on --size: 0.75,1,1.25.", show_default=OF_RUN)
    ] = None,
    flip: Annotated[
        bool | None,
        typer.Option("--flip/--no-flip", help="Mirror as well.", show_default=OF_RUN),
    ] = None,
    crf: Annotated[
        bool | None,
        typer.Option("--crf/--no-crf", help="Refine by the CRF.", show_default=OF_RUN),
    ] = None,
    max_pixels: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Work on larger photographs at this size; 0 is no limit.",
            show_default="1000000",
        ),
    ] = None,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where to compute.")] = (
        "auto"
    ),
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads.", show_default="every core")
    ] = None,
    processes: Annotated[int, typer.Option(min=0, help="For the CRF; 0 takes every core.")] = 0,
) -> None:
    """Segment photographs with a trained network or with prototypes; a stopped run resumes.

    Exit status: 0 every photograph has its mask; 1 some could not be read; 2 the arguments cannot
    be used.
    """
    from rca.inference.folder import Wanted, predict_folder
    from rca.inference.loading import load
    from rca.runtime.pool import available_cores

    model = load(
        weights,
        params=params,
        size=size,
        scales=None if scales is None else _scales(scales),
        flip=flip,
        crf=crf,
        max_pixels=max_pixels,
        device=device,
        threads=threads or available_cores(),
    )
    wanted = Wanted(overlays, confidence, coco, label_studio)
    outcome = predict_folder(model, photographs, out, wanted, processes)
    print(f"{out}: {outcome.done} masks", end="")
    print(f", {outcome.before} of them from before" if outcome.before else "")
    if outcome.failures:
        print(f"rca: {len(outcome.failures)} photographs have none:", file=sys.stderr)
        for _, reason in outcome.failures[:SHOWN]:
            print(f"  {reason}", file=sys.stderr)
        if len(outcome.failures) > SHOWN:
            print(f"  and {len(outcome.failures) - SHOWN} more", file=sys.stderr)
        print(f"  all of them: {out / 'failed.csv'}", file=sys.stderr)
        raise typer.Exit(1)
