"""One verb per stage of the pipeline, as `dvc.yaml` calls them."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from rca.cli import outcomes
from rca.cli.app import (
    PARAMS,
    STAGE,
    Cams,
    CamWeights,
    Data,
    GivenOut,
    Index,
    Labels,
    Maps,
    Out,
    ParamsFile,
    Results,
    ShardOption,
    State,
    Weights,
    app,
    home,
    parameters,
    path,
)
from rca.cli.launch import launch, note_machine
from rca.cli.quiet import is_quiet
from rca.cli.summary import summary
from rca.cli.turns import turn
from rca.config import ConfigError, TrainSeg
from rca.runtime import events
from rca.runtime.state import STATE, WHOLE, Shard

MACHINE = ("compute.device", "compute.threads")
PROCESSES = ("compute.gpus", "compute.nodes")
TRAINING = ("seed", *MACHINE, *PROCESSES, "compute.precision", "compute.compile")


@app.command(rich_help_panel=STAGE)
def download(
    out: Annotated[
        Path | None,
        typer.Option(help="Folder that the stage writes.", show_default="data/<download.name>"),
    ] = None,
    params: ParamsFile = PARAMS,
) -> None:
    """Bring the data set from its source into the layout of `index`."""
    with parameters(params, "download", out=out, made=lambda: outcomes.brought(folder)) as cfg:
        from rca.stages import download as stage

        folder = out or Path("data") / cfg.download.name
        stage.run(cfg.download, out=folder)


@app.command(rich_help_panel=STAGE)
def index(data: Data, out: Out, params: ParamsFile = PARAMS) -> None:
    """List the images with their splits, sizes and tags."""
    with parameters(params, "index", out=out, made=partial(outcomes.indexed, out)) as cfg:
        from rca.stages import index as stage

        stage.run(cfg.index, data=data, out=out)


@app.command(rich_help_panel=STAGE)
def train_cam(index: Index, out: Out, state: State = STATE, params: ParamsFile = PARAMS) -> None:
    """Train the classification network with RSC and RSA."""
    with parameters(
        params, *TRAINING, "train_cam", out=out, made=partial(outcomes.trained, out)
    ) as cfg:
        launch(cfg.compute)
        from rca.stages import train_cam as stage

        stage.run(cfg.train_cam, cfg.compute, cfg.seed, index=index, out=out, state=state)
        note_machine(cfg.compute, out / "weights.safetensors")


@app.command(rich_help_panel=STAGE)
def infer_cam(
    index: Index,
    weights: CamWeights,
    attention: Annotated[
        Path,
        path(
            "Accumulated maps, from `train-cam`.",
            "results/<experiment>/train_cam/attention.safetensors",
        ),
    ],
    out: Out,
    state: State = STATE,
    shard: ShardOption = WHOLE,
    params: ParamsFile = PARAMS,
) -> None:
    """Compute the class activation maps of every image."""
    with parameters(
        params,
        *MACHINE,
        "infer_cam",
        out=out,
        shard=shard,
        made=partial(outcomes.activation_maps, index),
    ) as cfg:
        from rca.stages import infer_cam as stage

        stage.run(
            cfg.infer_cam,
            cfg.compute,
            index=index,
            weights=weights,
            attention=attention,
            out=out,
            state=state,
            shard=shard,
        )


@app.command(rich_help_panel=STAGE)
def readout(
    index: Index,
    weights: CamWeights,
    cams: Cams,
    out: Out,
    state: State = STATE,
    shard: ShardOption = WHOLE,
    params: ParamsFile = PARAMS,
) -> None:
    """Read class maps from prototypes of the classes and the background."""
    with parameters(
        params,
        "seed",
        *MACHINE,
        "readout",
        out=out,
        shard=shard,
        made=partial(outcomes.class_maps, index, out),
    ) as cfg:
        from rca.stages import readout as stage

        stage.run(
            cfg.readout,
            cfg.compute,
            cfg.seed,
            index=index,
            weights=weights,
            cams=cams,
            out=out,
            state=state,
            shard=shard,
        )


@app.command(rich_help_panel=STAGE)
def pseudo_labels(index: Index, maps: Maps, out: Out, params: ParamsFile = PARAMS) -> None:
    """Turn the class maps of the training images into label maps."""
    with parameters(
        params, "pseudo_labels", out=out, made=partial(outcomes.label_maps, out, "label maps")
    ) as cfg:
        from rca.stages import pseudo_labels as stage

        stage.run(cfg.pseudo_labels, index=index, maps=maps, out=out)


@app.command(rich_help_panel=STAGE)
def crf(
    index: Index,
    maps: Maps,
    labels: Annotated[
        Path,
        path(
            "Folder of the label maps, from `pseudo-labels`.", "results/<experiment>/pseudo_labels"
        ),
    ],
    out: Out,
    state: State = STATE,
    shard: ShardOption = WHOLE,
    params: ParamsFile = PARAMS,
) -> None:
    """Refine the label maps with a fully connected CRF."""
    with parameters(
        params,
        "crf",
        "pseudo_labels",
        out=out,
        shard=shard,
        made=partial(outcomes.label_maps, out, "refined label maps"),
    ) as cfg:
        from rca.stages import crf as stage

        stage.run(
            cfg.crf,
            cfg.pseudo_labels,
            index=index,
            maps=maps,
            labels=labels,
            out=out,
            state=state,
            shard=shard,
        )


@app.command(rich_help_panel=STAGE)
def train_seg(
    supervision: Annotated[
        str,
        typer.Option(
            help="One of train_seg.supervisions: `truth` reads the masks, all others `--labels`.",
            show_default=False,
        ),
    ],
    index: Index,
    labels: Labels,
    out: GivenOut,
    state: State = STATE,
    params: ParamsFile = PARAMS,
) -> None:
    """Train the segmentation network."""
    keys = [f"train_seg.{key}" for key in TrainSeg.model_fields if key != "supervisions"]
    with parameters(params, *TRAINING, *keys, out=out, made=partial(outcomes.trained, out)) as cfg:
        trained = cfg.train_seg.supervisions
        if supervision not in trained:
            raise ConfigError(
                f"--supervision {supervision}: {params} has {', '.join(trained)}; "
                "name it in train_seg.supervisions"
            )
        launch(cfg.compute)
        from rca.stages import train_seg as stage

        stage.run(
            # That other networks are trained as well is no business of this one.
            cfg.train_seg.model_copy(update={"supervisions": {supervision: trained[supervision]}}),
            cfg.compute,
            cfg.seed,
            supervision=supervision,
            index=index,
            labels=labels,
            out=out,
            state=state,
        )
        note_machine(cfg.compute, out / "weights.safetensors")


@app.command(rich_help_panel=STAGE)
def relabel(
    index: Index,
    weights: Weights,
    out: GivenOut,
    state: State = STATE,
    shard: ShardOption = WHOLE,
    params: ParamsFile = PARAMS,
) -> None:
    """Label the training images by a trained network, restricted to their tags."""
    _label_by_network(
        "relabel", "label maps by the network", index, weights, out, state, shard, params
    )


@app.command(rich_help_panel=STAGE)
def infer_seg(
    index: Index,
    weights: Weights,
    out: GivenOut,
    state: State = STATE,
    shard: ShardOption = WHOLE,
    params: ParamsFile = PARAMS,
) -> None:
    """Predict the masks of the validation images."""
    _label_by_network("infer_seg", "masks", index, weights, out, state, shard, params)


def _label_by_network(
    name: Literal["relabel", "infer_seg"],
    what: str,
    index: Path,
    weights: Path,
    out: Path,
    state: Path,
    shard: Shard,
    params: Path,
) -> None:
    """Run one of the two stages that label images by a segmentation network."""
    made = partial(outcomes.label_maps, out, what)
    keys = (*MACHINE, "crf", "infer_seg")
    with parameters(params, *keys, out=out, shard=shard, made=made) as cfg:
        from rca.stages import infer_seg, relabel

        stage = {"relabel": relabel, "infer_seg": infer_seg}[name]
        stage.run(
            cfg.infer_seg,
            cfg.crf,
            cfg.compute,
            index=index,
            weights=weights,
            out=out,
            state=state,
            shard=shard,
        )


@app.command(rich_help_panel=STAGE)
def evaluate(
    index: Index,
    cams: Cams,
    readout: Maps,
    pseudo_labels: Annotated[
        Path,
        path(
            "Folder of the label maps, from `pseudo-labels`.", "results/<experiment>/pseudo_labels"
        ),
    ],
    crf: Annotated[
        Path, path("Folder of the refined label maps, from `crf`.", "results/<experiment>/crf")
    ],
    relabel: Annotated[
        Path,
        path(
            "Folder of the label maps of each round, from `relabel`.",
            "results/<experiment>/relabel",
        ),
    ],
    predictions: Annotated[
        Path,
        path("Folder of the predicted masks, from `infer-seg`.", "results/<experiment>/infer_seg"),
    ],
    out: Out,
    params: ParamsFile = PARAMS,
) -> None:
    """Measure the IoU of every intermediate product."""
    with parameters(
        params,
        "seed",
        "index",
        "infer_cam",
        "readout",
        "pseudo_labels",
        "crf",
        "infer_seg",
        "evaluate",
        "train_cam.backbone.weights",
        "train_seg.backbone.weights",
        "train_seg.supervisions",
        "relabel",
        out=out,
        made=partial(outcomes.scored, out),
    ) as cfg:
        from rca.stages import evaluate as stage

        stage.run(
            cfg.evaluate,
            cfg,
            index=index,
            cams=cams,
            readout=readout,
            pseudo_labels=pseudo_labels,
            crf=crf,
            relabel=relabel,
            predictions=predictions,
            out=out,
        )


@app.command(rich_help_panel=STAGE)
def report(index: Index, results: Results, out: Out, params: ParamsFile = PARAMS) -> None:
    """Write the page that shows the run."""
    with parameters(params, out=out, made=partial(outcomes.reported, out)) as cfg:
        from rca.stages import report as stage

        stage.run(
            cfg.report,
            index=index,
            results=results,
            out=out,
            parameters=cfg.model_dump(mode="json"),
        )


@app.command(rich_help_panel=STAGE)
def track(results: Results, out: Out, params: ParamsFile = PARAMS) -> None:
    """Put the run into MLflow; again, after the store was deleted."""
    with turn(out), parameters(params, made=partial(outcomes.tracked, out)) as cfg:
        from rca.stages import track as stage

        stage.run(cfg.track, cfg, results=results, out=out, home=home())
    # The engine that listens says it when all is done.
    if events.VARIABLE not in os.environ and not is_quiet():
        with suppress(ConfigError):
            print(f"\n{summary(results)}")
