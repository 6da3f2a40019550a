"""Verbs for label maps from anywhere: `rca score` and `rca submit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from rca.cli.app import HELP, app, path
from rca.config import ConfigError


@app.command(rich_help_panel=HELP)
def score(
    index: Annotated[Path, path("Folder of the index, from `index`.")],
    predictions: Annotated[Path, path("Folder of <image>.png with the index's label values.")],
    split: Annotated[
        Literal["train", "val"], typer.Option(help="Whose true masks to score against.")
    ] = "val",
    processes: Annotated[int, typer.Option(min=0, help="0 takes every core.")] = 0,
) -> None:
    """Score label maps from anywhere the way each known evaluator would."""
    from rca.evaluation.count_images import count_folder
    from rca.presentation.console import evaluators_text

    counts = count_folder(index, split, predictions, processes)
    print(evaluators_text(counts.matrix, len(counts.images)))


@app.command(rich_help_panel=HELP)
def submit(
    predictions: Annotated[Path, path("Folder of <image>.png with VOC's label values.")],
    images: Annotated[Path, path("List of the test images, one name a line.")],
    photographs: Annotated[Path, path("Folder of <image>.jpg, for their sizes.")],
    out: Annotated[Path, path("The archive to write, .tar.gz or .tgz.")],
    competition: Annotated[
        Literal["comp5", "comp6"],
        typer.Option(help="comp5: learnt from VOC 2012 alone; comp6: pretrained elsewhere, too."),
    ] = "comp6",
) -> None:
    """Check masks of VOC 2012's test set and pack them for its evaluation server."""
    from rca.evaluation.submission import TEST_IMAGES, pack_submission

    try:
        names = images.read_text(encoding="utf-8").split()
    except FileNotFoundError:
        raise ConfigError(f"{images}: no such file; give the list of the test images") from None
    pack_submission(
        out,
        images=names,
        photographs=photographs,
        predictions=predictions,
        competition=competition,
    )
    print(f"{out}: {len(names)} masks, checked and packed for {competition}_test_cls")
    if len(names) != TEST_IMAGES:
        print(f"Note: VOC 2012's test list has {TEST_IMAGES} images; the server wants them all.")
