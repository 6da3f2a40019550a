"""Verbs around the pipeline: parameters, presets, results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rca import config
from rca.cli.app import HELP, PARAMS, ParamsFile, app
from rca.cli.quiet import is_quiet
from rca.cli.summary import summary
from rca.config import ConfigError
from rca.runtime.files import write_text


def presets() -> Path:
    """Return the folder of the presets: the checkout's, or else that which the package ships."""
    here = Path("configs")
    return here if here.is_dir() else Path(__file__).parents[1] / "presets"


def _names() -> str:
    return ", ".join(sorted(file.stem for file in presets().glob("*.yaml"))) or "none"


@app.command(rich_help_panel=HELP)
def check(
    params: ParamsFile = PARAMS,
    out: Annotated[
        Path | None, typer.Option(help="Note what the data are made from, for the engines.")
    ] = None,
) -> None:
    """Check a parameter file, and that what it names is there; nothing else is done."""
    loaded = config.load(params)
    from rca.stages import check as stage

    stage.run(loaded, out=out)
    if not is_quiet():
        print(f"{params}: valid (experiment {loaded.experiment})")


@app.command(rich_help_panel=HELP)
def use(
    preset: Annotated[str, typer.Argument(help=f"One of: {_names()}.", show_default=False)],
) -> None:
    """Make a preset the current params.yaml; one that you edited becomes params.yaml.bak.

    An older params.yaml.bak becomes params.yaml.bak1, and so on: no edit is lost.
    """
    source = presets() / f"{preset}.yaml"
    if not source.is_file():
        raise ConfigError(f"no preset {preset!r} in {presets()}/; there are: {_names()}")
    experiment = config.load(source).experiment
    kept = _keep_edits()
    write_text(PARAMS, _as_params(source))
    print(f"{PARAMS} is now {source} (experiment {experiment}){kept}")


def _as_params(preset: Path) -> str:
    """Return a preset's text for params.yaml, from where the schema is one folder nearer."""
    return preset.read_text(encoding="utf-8").replace("$schema=../", "$schema=", 1)


def _keep_edits() -> str:
    """Move params.yaml aside unless it is an unchanged preset; return where it went, in words."""
    if not PARAMS.exists():
        return ""
    text = PARAMS.read_text(encoding="utf-8", errors="replace")
    if any(text == _as_params(preset) for preset in presets().glob("*.yaml")):
        return ""
    backup = PARAMS.with_suffix(".yaml.bak")
    if backup.exists():
        numbers = (int(path.suffix[4:] or 0) for path in Path().glob(f"{backup}[0-9]*"))
        backup.replace(f"{backup}{max(numbers, default=0) + 1}")
    PARAMS.replace(backup)
    return f"; the one before is {backup}"


@app.command(rich_help_panel=HELP)
def table(
    results: Annotated[
        Path | None,
        typer.Option(help="Folder of an experiment.", show_default="that of params.yaml"),
    ] = None,
    params: ParamsFile = PARAMS,
) -> None:
    """Print the mIoU of every stage, and where its masks and the report are."""
    print(summary(results or Path("results") / config.load(params).experiment))


@app.command(rich_help_panel=HELP)
def schema() -> None:
    """Print the JSON schema of params.yaml."""
    print(config.json_schema(), end="")
