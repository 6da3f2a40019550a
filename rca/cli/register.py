"""`rca register`: a network of a tracked run in MLflow's registry."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rca.cli.app import HELP, app, home


@app.command(rich_help_panel=HELP)
def register(
    results: Annotated[
        Path,
        typer.Argument(help="Folder of a tracked experiment, `results/<experiment>`."),
    ],
    name: Annotated[str, typer.Option(help="Of the registered model.", show_default=False)],
    alias: Annotated[str, typer.Option(help="What points to this version.")] = "champion",
    network: Annotated[
        str,
        typer.Option(help="`segmentation`, or `segmentation_true_masks` if the run trained it."),
    ] = "segmentation",
) -> None:
    """Make the run's network a version of a registered model, and the alias point to it."""
    from rca.tracking import registry

    found = registry.register(results, name=name, alias=alias, network=network, home=home())
    print(f"{name} version {found.version}: {found.address}")
