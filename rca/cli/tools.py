"""Verbs around the pipeline: parameters, presets, results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from rca import config
from rca.cli.app import HELP, PARAMS, ParamsFile, app
from rca.config import ConfigError
from rca.files import write_text

PRESETS = Path("configs")


@app.command(rich_help_panel=HELP)
def check(params: ParamsFile = PARAMS) -> None:
    """Check a parameter file, and nothing else."""
    loaded = config.load(params)
    config.check_supply(loaded)
    print(f"{params}: valid (experiment {loaded.experiment})")


@app.command(rich_help_panel=HELP)
def use(preset: Annotated[str, typer.Argument(help="Name of a file in configs/.")]) -> None:
    """Make configs/PRESET.yaml the current params.yaml; the one before becomes params.yaml.bak."""
    source = PRESETS / f"{preset}.yaml"
    if not source.is_file():
        known = ", ".join(sorted(file.stem for file in PRESETS.glob("*.yaml")))
        raise ConfigError(f"no preset {preset!r} in {PRESETS}/; there are: {known or 'none'}")
    experiment = config.load(source).experiment
    if PARAMS.exists():
        PARAMS.replace(PARAMS.with_suffix(".yaml.bak"))
    # Beside params.yaml, the schema lies one folder nearer.
    text = source.read_text(encoding="utf-8").replace("$schema=../", "$schema=", 1)
    write_text(PARAMS, text)
    print(f"{PARAMS} is now {source} (experiment {experiment})")


@app.command(rich_help_panel=HELP)
def table(
    results: Annotated[
        Path | None,
        typer.Option(help="Folder of an experiment.", show_default="that of params.yaml"),
    ] = None,
    params: ParamsFile = PARAMS,
) -> None:
    """Print the mIoU of every stage."""
    from rca.evaluation.console import text_table

    folder = results or Path("results") / config.load(params).experiment
    file = folder / "evaluate" / "metrics.json"
    if not file.is_file():
        raise ConfigError(f"{file}: no such file; run the pipeline first (make demo)")
    print(text_table(json.loads(file.read_text(encoding="utf-8"))))
    pages = [folder / stage / "report.html" for stage in ("report", "track")]
    # That of `track` names commit and machine, but may be of an earlier run.
    if made := [page for page in pages if page.is_file()]:
        latest = max(made, key=lambda page: page.stat().st_mtime_ns)
        print(f"Report: {latest.resolve().as_uri()}")


@app.command(rich_help_panel=HELP)
def schema() -> None:
    """Print the JSON schema of params.yaml."""
    print(config.json_schema(), end="")
