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
        str, typer.Option(help="Titles of the experiments' columns, with commas between.")
    ] = "",
    only: Annotated[
        Literal["cams", "masks"] | None, typer.Option(help="One of the two figures.")
    ] = None,
    split: Annotated[
        Literal["train", "val"] | None,
        typer.Option(
            help="Whose images.",
            show_default="training images for CAMs, validation images for masks",
        ),
    ] = None,
    images: Annotated[
        str, typer.Option(help="Names of the images, with commas between, in this order.")
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
    """Set experiments side by side: their CAMs, and their masks, as PNG and PDF with a caption."""
    from rca.presentation import figures as work

    kinds: list[work.Kind] = [only] if only else ["cams", "masks"]
    work.run(
        results,
        out=out,
        labels=_parts(labels),
        kinds=kinds,
        split=split,
        images=_parts(images),
        rule=choose,
        count=count,
    )
    for kind in kinds:
        print(*(out / f"{kind}.{suffix}" for suffix in ("png", "pdf", "txt")))


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
