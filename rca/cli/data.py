"""`rca data`: looking at a data set before anything is trained on it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rca import config
from rca.cli.app import HELP, PARAMS, ParamsFile, app
from rca.config import IndexSection

data = typer.Typer(
    help="Look at a data set before anything is trained on it.", no_args_is_help=True
)
app.add_typer(data, name="data", rich_help_panel=HELP)


@data.command()
def doctor(
    folder: Annotated[
        Path | None,
        typer.Argument(
            help="A data set as `download` leaves it; its lists are `train` and `val`, unless "
            "--train and --val name others.",
            show_default="that of params.yaml, with its lists and classes",
        ),
    ] = None,
    train: Annotated[str, typer.Option(help="List of FOLDER's training images.")] = "train",
    val: Annotated[str, typer.Option(help="List of FOLDER's validation images.")] = "val",
    out: Annotated[
        Path | None, typer.Option(help="Also write doctor.html, with examples, and doctor.json.")
    ] = None,
    processes: Annotated[int, typer.Option(min=0, help="0 takes every core.")] = 0,
    params: ParamsFile = PARAMS,
) -> None:
    """Say what is in a data set and what is wrong with it.

    Exit status: 0 nothing wrong, or warnings only; 1 errors, which `rca index` would refuse; 2 the
    data set could not be looked at.
    """
    if folder is None:
        cfg = config.load(params)
        folder, section = Path("data") / cfg.download.name, cfg.index
    else:
        section = IndexSection(train_list=train, val_list=val)
    from rca.stages import doctor as work

    diagnosis = work.run(section, data=folder, out=out, processes=processes)
    print(work.as_text(diagnosis))
    if out:
        print(f"Page: {(out / 'doctor.html').resolve().as_uri()}")
    raise typer.Exit(1 if diagnosis.errors else 0)
