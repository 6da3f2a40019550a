"""`rca compare`: compare results side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rca import config
from rca.cli.app import HELP, PARAMS, ParamsFile, app, home
from rca.config import ConfigError, Track

if TYPE_CHECKING:
    from rca.presentation.compare_results import Result
    from rca.tracking.find import Found


@app.command(rich_help_panel=HELP)
def compare(
    results: Annotated[
        list[str],
        typer.Argument(
            help="Folders of experiments, or their metrics.json; names of DVC experiments; names "
            "or ids of MLflow runs. Runs of one method with different seeds, separated by commas "
            "(A,B,C), are shown as mean ± standard deviation.",
            show_default=False,
        ),
    ],
    labels: Annotated[
        str, typer.Option(help="Names of the results, separated by commas.", show_default=False)
    ] = "",
    page: Annotated[
        Path | None,
        typer.Option(
            help="Also write an HTML page: scores, protocols, classes, and the photographs that "
            "changed most from the first result to the last.",
            show_default=False,
        ),
    ] = None,
    photographs: Annotated[
        int, typer.Option(min=0, help="Maximum number of photographs of each split on the page.")
    ] = 60,
    params: ParamsFile = PARAMS,
) -> None:
    """Show results side by side with all differences in protocol, and say if they are comparable.

    Exit status: 0 if they are, 1 if a difference affects one of the numbers by itself, 2 if a file
    cannot be used.
    """
    from rca.evaluation.comparison import compare as compared
    from rca.evaluation.comparison import differences, shared_products
    from rca.presentation.console import comparison_text

    if len(results) < 2:
        raise ConfigError("compare needs at least two results: rca compare results/a results/b")
    known = _named([_read(argument, params) for argument in results], labels)
    runs = [result.runs for result in known]
    if page:
        from rca.presentation import compare_page

        shown = known if labels else compare_page.short_names(known)
        compare_page.write(shown, page, photographs)
        shared = shared_products(runs)
        found = differences(runs, shared)  # even without scores: the page still shows the masks
    else:
        shared, found = compared(runs)
    print(comparison_text(runs, shared, found))
    if page:
        print(f"\nPage: {page.resolve().as_uri()}")
    if any(difference.touches for difference in found):
        raise typer.Exit(1)


def _read(argument: str, params: Path) -> Result:
    from rca.evaluation.runs import same_method
    from rca.presentation.compare_results import Result
    from rca.tracking.find import of_place

    found = tuple(of_place(part) or _of_name(part, params) for part in argument.split(","))
    return Result(same_method(argument, [one.metrics for one in found]), found)


def _of_name(name: str, params: Path) -> Found:
    """Find a DVC experiment or an MLflow run."""
    from rca.tracking.find import of_name

    uri = config.load(params).track.uri if params.is_file() else Track().uri
    found = of_name(name, uri=uri, home=home())
    if found is None:
        raise ConfigError(
            f"{name}: no such file or folder, no DVC experiment (`dvc exp list`), and no MLflow "
            f"run in {uri}"
        )
    return found


def _named(results: Sequence[Result], labels: str) -> list[Result]:
    """Rename the results as the user asked."""
    if not labels:
        return list(results)
    names = [name.strip() for name in labels.split(",")]
    if len(names) != len(results) or not all(names):
        raise ConfigError(f"--labels {labels}: give {len(results)} names, one for each result")
    return [
        replace(result, runs=replace(result.runs, name=name))
        for result, name in zip(results, names, strict=True)
    ]
