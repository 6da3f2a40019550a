"""`rca compare`: results side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from rca import config
from rca.cli.app import HELP, PARAMS, ParamsFile, app, home
from rca.config import ConfigError, Track


@app.command(rich_help_panel=HELP)
def compare(
    results: Annotated[
        list[str],
        typer.Argument(
            help="Folders of experiments, or their metrics.json; names of DVC experiments; names "
            "or ids of MLflow runs. With commas between (A,B,C), runs of one method with different "
            "seeds, shown as mean ± standard deviation.",
            show_default=False,
        ),
    ],
    params: ParamsFile = PARAMS,
) -> None:
    """Put results side by side, name every difference in protocol, and say if they compare.

    Exit status: 0 if they do, 1 if a difference moves one of the numbers by itself, 2 if a file
    cannot be used.
    """
    from rca.evaluation.comparison import compare as compared
    from rca.evaluation.runs import same_method
    from rca.presentation.console import comparison_text

    if len(results) < 2:
        raise ConfigError("compare needs two results or more: rca compare results/a results/b")
    runs = [
        same_method(argument, [_metrics(part, params) for part in argument.split(",")])
        for argument in results
    ]
    shared, differences = compared(runs)
    print(comparison_text(runs, shared, differences))
    if any(difference.touches for difference in differences):
        raise typer.Exit(1)


def _metrics(name: str, params: Path) -> dict[str, Any]:
    place = Path(name)
    file = place / "evaluate" / "metrics.json" if place.is_dir() else place
    try:
        if file.is_file() or place.is_dir() or place.suffix == ".json":
            content = json.loads(file.read_text(encoding="utf-8"))
        else:
            content = _of_name(name, params)
    except FileNotFoundError:
        raise ConfigError(f"{file}: no such file; run `rca evaluate` first") from None
    except ValueError as error:
        raise ConfigError(f"{file}: not valid JSON ({error}); run `rca evaluate` again") from None
    if not isinstance(content, dict) or not {"miou", "products", "protocol"} <= set(content):
        raise ConfigError(f"{file}: not a metrics.json of `rca evaluate`")
    return content


def _of_name(name: str, params: Path) -> dict[str, Any]:
    """Find the metrics of a DVC experiment or an MLflow run."""
    from rca.tracking.find import find_metrics

    uri = config.load(params).track.uri if params.is_file() else Track().uri
    found = find_metrics(name, uri=uri, home=home())
    if found is None:
        raise ConfigError(
            f"{name}: no such file or folder, no DVC experiment (`dvc exp list`), and no MLflow "
            f"run in {uri}"
        )
    return found
