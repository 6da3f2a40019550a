"""`rca data`: looking at a data set before anything is trained on it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rca import config
from rca.cli.app import HELP, PARAMS, ParamsFile, app
from rca.config import ConfigError, FolderSource, IndexSection

data = typer.Typer(
    help="Look at a data set before anything is trained on it.", no_args_is_help=True
)
app.add_typer(data, name="data", rich_help_panel=HELP)


@data.command()
def doctor(
    folder: Annotated[
        Path | None,
        typer.Argument(
            help="Your own photographs, as `download.folder` takes them, or a data set as "
            "`download` leaves it; its lists are `train` and `val`, unless --train and --val name "
            "others.",
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

    Exit status: 0 nothing wrong, or warnings only; 1 errors, which `rca download` or `rca index`
    would refuse; 2 the data set could not be looked at.
    """
    from rca.presentation import doctor_page as work

    source = None
    if folder is None:
        cfg = config.load(params)
        folder, section = Path("data") / cfg.download.name, cfg.index
        if cfg.download.source == "folder" and not folder.exists():
            folder, source = cfg.download.folder, cfg.download
    else:
        section = IndexSection(train_list=train, val_list=val)
    if source is None and _is_raw(folder):
        source = _source_of(folder, params)
    if source:
        diagnosis = work.run_raw(source, section, out=out, processes=processes)
    else:
        diagnosis = work.run(section, data=folder, out=out, processes=processes)
    print(work.as_text(diagnosis))
    if out:
        print(f"Page: {(out / 'doctor.html').resolve().as_uri()}")
    raise typer.Exit(1 if diagnosis.errors else 0)


def _is_raw(folder: Path) -> bool:
    """Check whether a folder is a user's own, which `download` has not laid out."""
    return folder.is_dir() and not any(
        (folder / name).is_dir() for name in ("ImageSets", "JPEGImages")
    )


def _source_of(folder: Path, params: Path) -> FolderSource:
    """Return section `download` for a folder: the parameter file's, if that names this folder."""
    try:
        source = config.load(params).download
    except ConfigError:
        source = None
    if source and source.source == "folder" and source.folder.resolve() == folder.resolve():
        return source
    # Unchecked: nothing is brought anywhere, and the folder may lie where `download` refuses it.
    return FolderSource.model_construct(source="folder", name="doctor", folder=folder)
