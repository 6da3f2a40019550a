"""`rca figures`: pictures of finished experiments for a paper."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from rca.cli.app import HELP, app


@app.command(rich_help_panel=HELP)
def figures(
    results: Annotated[
        list[Path],
        typer.Argument(
            help="Folders of experiments, what to compare with first.", show_default=False
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder that gets the figures.")] = Path("figures"),
    labels: Annotated[
        str, typer.Option(help="Titles of the experiments' columns, separated by commas.")
    ] = "",
    only: Annotated[
        Literal["cams", "posteriors", "masks"] | None, typer.Option(help="One of the figures.")
    ] = None,
    split: Annotated[
        Literal["train", "val"] | None,
        typer.Option(
            help="Whose images.",
            show_default="training images for maps, validation images for masks",
        ),
    ] = None,
    images: Annotated[
        str, typer.Option(help="Names of the images, separated by commas, in this order.")
    ] = "",
    choose: Annotated[
        Literal["typical", "changed"],
        typer.Option(
            help="Without --images: the classes in turn, each from its median in the better half; "
            "or those whose IoU differs most between the first and the last experiment."
        ),
    ] = "typical",
    count: Annotated[int, typer.Option(min=1, help="How many images to choose.")] = 6,
) -> None:
    """Set experiments side by side: maps and masks, as PNG and PDF with a caption."""
    from rca.presentation import figures as work

    files = work.run(
        results,
        out=out,
        labels=_parts(labels),
        kinds=[only] if only else [],
        split=split,
        images=_parts(images),
        rule=choose,
        count=count,
    )
    for start in range(0, len(files), 3):
        print(*files[start : start + 3])


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
