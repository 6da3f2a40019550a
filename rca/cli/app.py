"""The `rca` command itself: the options that commands share, the log, and reading parameters."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from operator import attrgetter
from pathlib import Path
from typing import Annotated, TextIO

import typer

from rca import config
from rca.cli.quiet import is_quiet
from rca.cli.turns import turn
from rca.cli.version import version
from rca.config import ConfigError, Params
from rca.runtime import bars
from rca.runtime.events import RESULT, Listener
from rca.runtime.progress import span
from rca.runtime.state import WHOLE, Shard
from rca.tracking.times import timed

log = logging.getLogger(__name__)
app = typer.Typer(
    help="Pixel masks from image tags: Regional Semantic Contrast and Aggregation.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

STAGE = "Stages, in the order of the pipeline"
HELP = "Around the pipeline"
PARAMS = Path("params.yaml")


def path(what: str, default: str = "") -> typer.models.OptionInfo:
    """Define a path option; it is required, unless the workflow has one place for it.

    Args:
        what: The help text.
        default: The place in the workflow's folders, with `<experiment>`, `<download.name>` and
            `<stage>` for what they are in a run.
    """
    if not default:
        return typer.Option(help=what, show_default=False)
    return typer.Option(
        help=what, show_default=default, default_factory=lambda: Path(default), callback=_filled
    )


def _filled(context: typer.Context, place: Path) -> Path:
    """Put the experiment, the data set and the stage into a default path."""
    if not {"<experiment>", "<download.name>"} & set(place.parts):
        return place
    params = config.load(context.params["params"])
    names = {
        "<experiment>": params.experiment,
        "<download.name>": params.download.name,
        "<stage>": (context.info_name or "").replace("-", "_"),
    }
    return Path(*(names.get(part, part) for part in place.parts))


def _shard(text: str | Shard) -> Shard:
    if isinstance(text, Shard):  # the default
        return text
    number, _, of = text.partition("/")
    if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
        raise typer.BadParameter(f"{text!r} is not a shard such as 2/4")
    return Shard(int(number), int(of))


# Eager: read before the paths whose defaults it names.
ParamsFile = Annotated[Path, typer.Option("--params", is_eager=True, help="Parameter file.")]
Out = Annotated[Path, path("Folder that the stage writes.", "results/<experiment>/<stage>")]
GivenOut = Annotated[Path, path("Folder that the stage writes.")]
Data = Annotated[Path, path("Folder of the data set, from `download`.", "data/<download.name>")]
Index = Annotated[Path, path("Folder of the index, from `index`.", "results/<experiment>/index")]
Weights = Annotated[Path, path("Trained network, a safetensors file.")]
CamWeights = Annotated[
    Path,
    path(
        "Trained network, from `train-cam`.", "results/<experiment>/train_cam/weights.safetensors"
    ),
]
Cams = Annotated[
    Path, path("Folder of the CAMs, from `infer-cam`.", "results/<experiment>/infer_cam")
]
Maps = Annotated[
    Path, path("Folder of the class maps, from `readout`.", "results/<experiment>/readout")
]
Labels = Annotated[Path, path("Folder of label maps.")]
ShardOption = Annotated[
    Shard,
    typer.Option(
        parser=_shard,
        metavar="K/N",
        help="Process only the K-th of N shards of the images, and keep the result in the state.",
        show_default=False,
    ),
]
State = Annotated[Path, typer.Option(help="Folder from which a killed run resumes.")]
Results = Annotated[Path, path("Folder of the experiment.", "results/<experiment>")]


def home() -> Path:
    """Find the checkout that the user works in, for what must outlive a run.

    `dvc exp run --temp` and the workers of `dvc queue` run the stages in temporary folders, which
    they remove. They set `DVC_ROOT` to the repository.
    """
    return Path(os.environ.get("DVC_ROOT", "."))


@contextmanager
def parameters(
    file: Path,
    *keys: str,
    out: Path | None = None,
    shard: Shard = WHOLE,
    made: Callable[[], str] | None = None,
) -> Iterator[Params]:
    """Load a stage's parameters, and check when it ends that they were not edited meanwhile.

    An engine records the parameters when a stage ends. If they were edited while the stage ran, the
    engine would record the new values beside a result of the old ones. With `out`, the start and
    the end of the stage, or of its `shard`, are recorded too, and no other process can make the
    same files at the same time.

    Args:
        file: the parameter file.
        keys: the dotted keys that the stage's result depends on; without any, every key counts.
        out: the folder that the stage makes.
        shard: the part of the folder that this process makes.
        made: the function that returns one line about what the stage made.

    Raises:
        ConfigError: the file cannot be used, one of `keys` was edited meanwhile, or another process
            is making `out`.
    """
    params = config.load(file)
    begun = time.monotonic()
    with _at_work(out, shard) if out else nullcontext():
        yield params
        now = config.load(file)
        edited = [key for key in keys if attrgetter(key)(now) != attrgetter(key)(params)]
        if edited or (not keys and now != params):
            raise ConfigError(
                f"{file} was edited while the stage ran ({', '.join(edited) or 'any key counts'}): "
                "its result belongs to the old values and was not recorded; run again"
            )
    if made and os.environ.get("RANK", "0") == "0":
        _say(made, shard, time.monotonic() - begun)


def _say(made: Callable[[], str], shard: Shard, seconds: float) -> None:
    """Log what a stage made; if that cannot be read, the stage still succeeds."""
    try:
        said = made() if shard == WHOLE else f"share {shard.number} of {shard.of}"
    except Exception:
        said = "done"
    log.log(RESULT, "%s (%s)", said, span(seconds))


@contextmanager
def _at_work(out: Path, shard: Shard) -> Iterator[None]:
    """Lock what a stage makes against other processes, and record when it was made.

    The time of a shard is recorded under its own name, because it is not that of the whole stage.
    """
    share = None if shard == WHOLE else out / f"{shard.number}-of-{shard.of}"
    with turn(out, share), timed(share or out):
        yield


class CurrentStderr(logging.StreamHandler):
    """A handler that writes to the current `sys.stderr`, which puts the log above drawn bars."""

    @property
    def stream(self) -> TextIO:
        """The current `sys.stderr`."""
        return sys.stderr

    @stream.setter
    def stream(self, _: TextIO) -> None:
        """Ignore the stream that was `sys.stderr` when the handler was made."""


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"rca {version()}")
        raise typer.Exit


@app.callback()
def prepare(
    context: typer.Context,
    _: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Send this package's log, and the warnings of all other packages, to stderr."""
    stage = (context.invoked_subcommand or "").replace("-", "_")
    shown = CurrentStderr()
    if is_quiet():
        shown.setLevel(logging.ERROR)
        bars.forbid()
    logging.basicConfig(
        handlers=[shown],
        format=f"%(asctime)s {stage}: %(message)s",
        datefmt="%H:%M:%S",
    )
    package = logging.getLogger("rca")
    package.setLevel(logging.INFO)
    package.handlers = [Listener()]
