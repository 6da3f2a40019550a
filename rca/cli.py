"""`rca`: one verb per stage of the pipeline, and a few to look after it.

`dvc.yaml` calls these verbs; each can as well be run by hand. Torch and MLflow are imported inside
the verbs that need them, so that `rca --help` is quick.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Literal

import typer

from rca import config
from rca.config import ConfigError, Params, TrainSeg
from rca.files import write_text

app = typer.Typer(
    help="Pixel masks from image tags: Regional Semantic Contrast and Aggregation.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

STAGE = "Stages, in the order of the pipeline"
HELP = "Around the pipeline"
PARAMS = Path("params.yaml")
PRESETS = Path("configs")


def path(what: str) -> typer.models.OptionInfo:
    """A required path option."""
    return typer.Option(help=what, show_default=False)


ParamsFile = Annotated[Path, typer.Option("--params", help="Parameter file.")]
Out = Annotated[Path, path("Where the stage writes.")]
Data = Annotated[Path, path("Folder of the data set, from `download`.")]
Index = Annotated[Path, path("Folder of the index, from `index`.")]
Weights = Annotated[Path, path("Trained network, a safetensors file.")]
Cams = Annotated[Path, path("Folder of the CAMs, from `infer-cam`.")]
Labels = Annotated[Path, path("Folder of label maps.")]
Results = Annotated[Path, path("Folder of the experiment, `results/<experiment>`.")]


@contextmanager
def parameters(file: Path, *keys: str) -> Iterator[Params]:
    """The parameters, for a stage whose result depends on `keys`; none named, on the whole file.

    An engine notes parameters when a stage ends. If they were edited while it ran, it would note
    the new values beside the result of the old ones.

    Raises:
        ConfigError: the file cannot be used, or was edited under one of `keys` meanwhile.
    """
    params = config.load(file)
    yield params
    now = config.load(file)
    edited = [key for key in keys if attrgetter(key)(now) != attrgetter(key)(params)]
    if edited or (not keys and now != params):
        raise ConfigError(
            f"{file} was edited while the stage ran ({', '.join(edited) or 'any key counts'}): "
            "its result is of the old values and was not recorded; run again"
        )


@app.callback()
def prepare(context: typer.Context) -> None:
    """Send the log of this package, and warnings of all others, to stderr."""
    stage = (context.invoked_subcommand or "").replace("-", "_")
    logging.basicConfig(
        stream=sys.stderr,
        format=f"%(asctime)s {stage}: %(message)s",
        datefmt="%H:%M:%S",
    )
    logging.getLogger("rca").setLevel(logging.INFO)


@app.command(rich_help_panel=STAGE)
def download(out: Out, params: ParamsFile = PARAMS) -> None:
    """Check the data set's archive and unpack it."""
    with parameters(params, "download") as cfg:
        from rca.stages import download as stage

        stage.run(cfg.download, out=out)


@app.command(rich_help_panel=STAGE)
def index(data: Data, out: Out, params: ParamsFile = PARAMS) -> None:
    """List the images with their splits, sizes and tags."""
    with parameters(params, "index") as cfg:
        from rca.stages import index as stage

        stage.run(cfg.index, data=data, out=out)


@app.command(rich_help_panel=STAGE)
def train_cam(index: Index, out: Out, params: ParamsFile = PARAMS) -> None:
    """Train the classification network with RSC and RSA."""
    with parameters(params, "seed", "compute.device", "compute.threads", "train_cam") as cfg:
        from rca.stages import train_cam as stage

        stage.run(cfg.train_cam, cfg.compute, cfg.seed, index=index, out=out)


@app.command(rich_help_panel=STAGE)
def infer_cam(index: Index, weights: Weights, out: Out, params: ParamsFile = PARAMS) -> None:
    """Compute the class activation maps of every image."""
    with parameters(params, "compute.device", "compute.threads", "infer_cam") as cfg:
        from rca.stages import infer_cam as stage

        stage.run(cfg.infer_cam, cfg.compute, index=index, weights=weights, out=out)


@app.command(rich_help_panel=STAGE)
def pseudo_labels(index: Index, cams: Cams, out: Out, params: ParamsFile = PARAMS) -> None:
    """Turn the CAMs of the training images into label maps."""
    with parameters(params, "pseudo_labels") as cfg:
        from rca.stages import pseudo_labels as stage

        stage.run(cfg.pseudo_labels, index=index, cams=cams, out=out)


@app.command(rich_help_panel=STAGE)
def crf(index: Index, cams: Cams, labels: Labels, out: Out, params: ParamsFile = PARAMS) -> None:
    """Refine the label maps with a fully connected CRF."""
    with parameters(params, "crf", "pseudo_labels") as cfg:
        from rca.stages import crf as stage

        stage.run(cfg.crf, cfg.pseudo_labels, index=index, cams=cams, labels=labels, out=out)


@app.command(rich_help_panel=STAGE)
def train_seg(
    supervision: Annotated[
        Literal["pseudo", "truth"], typer.Option(help="Refined labels, or the true masks.")
    ],
    index: Index,
    labels: Labels,
    out: Out,
    params: ParamsFile = PARAMS,
) -> None:
    """Train the segmentation network."""
    keys = [f"train_seg.{key}" for key in TrainSeg.model_fields if key != "supervisions"]
    with parameters(params, "seed", "compute.device", "compute.threads", *keys) as cfg:
        from rca.stages import train_seg as stage

        stage.run(
            # That other networks are trained as well is no business of this one.
            cfg.train_seg.model_copy(update={"supervisions": [supervision]}),
            cfg.compute,
            cfg.seed,
            supervision=supervision,
            index=index,
            labels=labels,
            out=out,
        )


@app.command(rich_help_panel=STAGE)
def infer_seg(index: Index, weights: Weights, out: Out, params: ParamsFile = PARAMS) -> None:
    """Predict the masks of the validation images."""
    with parameters(params, "compute.device", "compute.threads", "crf", "infer_seg") as cfg:
        from rca.stages import infer_seg as stage

        stage.run(cfg.infer_seg, cfg.crf, cfg.compute, index=index, weights=weights, out=out)


@app.command(rich_help_panel=STAGE)
def evaluate(
    index: Index,
    cams: Cams,
    pseudo_labels: Annotated[Path, path("Folder of the label maps, from `pseudo-labels`.")],
    crf: Annotated[Path, path("Folder of the refined label maps, from `crf`.")],
    predictions: Annotated[Path, path("Folder of the predicted masks, from `infer-seg`.")],
    out: Out,
    params: ParamsFile = PARAMS,
) -> None:
    """Measure the IoU of every intermediate product."""
    with parameters(
        params,
        "evaluate",
        "pseudo_labels",
        "train_cam.backbone.weights",
        "train_seg.backbone.weights",
        "train_seg.supervisions",
    ) as cfg:
        from rca.stages import evaluate as stage

        trained = (cfg.train_cam.backbone, cfg.train_seg.backbone)
        stage.run(
            cfg.evaluate,
            cfg.pseudo_labels,
            index=index,
            cams=cams,
            pseudo_labels=pseudo_labels,
            crf=crf,
            predictions=predictions,
            out=out,
            supervisions=cfg.train_seg.supervisions,
            pretrained=any(backbone.weights != "none" for backbone in trained),
        )


@app.command(rich_help_panel=STAGE)
def report(index: Index, results: Results, out: Out, params: ParamsFile = PARAMS) -> None:
    """Write the page that shows the run."""
    with parameters(params) as cfg:
        from rca.stages import report as stage

        stage.run(
            cfg.report,
            cfg.pseudo_labels,
            index=index,
            results=results,
            out=out,
            parameters=cfg.model_dump(mode="json"),
        )


@app.command(rich_help_panel=STAGE)
def track(results: Results, out: Out, params: ParamsFile = PARAMS) -> None:
    """Put the run into MLflow; again, after the store was deleted."""
    with parameters(params) as cfg:
        from rca.stages import track as stage

        stage.run(cfg.track, cfg, results=results, out=out)


@app.command(rich_help_panel=HELP)
def check(params: ParamsFile = PARAMS) -> None:
    """Check a parameter file, and nothing else."""
    experiment = config.load(params).experiment
    print(f"{params}: valid (experiment {experiment})")


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
    page = folder / "report" / "report.html"
    if page.is_file():
        print(f"Report: {page.resolve().as_uri()}")


@app.command(rich_help_panel=HELP)
def schema() -> None:
    """Print the JSON schema of params.yaml."""
    print(config.json_schema(), end="")


def main() -> None:
    """Run `rca`; what the user can mend is one message and exit status 2, without a traceback."""
    try:
        app()
    except Exception as error:
        if not isinstance(error, _mendable()):
            raise
        print(f"rca: {error}", file=sys.stderr)
        sys.exit(2)


def _mendable() -> tuple[type[Exception], ...]:
    """Errors whose message says what to do."""
    from rca.data.images import DataError
    from rca.labels.pool import WorkerError

    return ConfigError, DataError, WorkerError, FloatingPointError
