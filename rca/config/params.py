"""The whole of `params.yaml`: reading it, and explaining what is wrong with it."""

from __future__ import annotations

import json
from difflib import get_close_matches
from pathlib import Path
from typing import get_args

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from rca.config.cam import InferCam, TrainCam
from rca.config.data import IndexSection
from rca.config.download import Download
from rca.config.labels import Crf, PseudoLabels
from rca.config.readout import Readout
from rca.config.results import Evaluate, Report, Track
from rca.config.section import ConfigError, Section
from rca.config.segmentation import ROUNDS, InferSeg, Relabel, TrainSeg
from rca.config.training import Compute

SOURCES = {  # `download.source` → its section
    get_args(kind.model_fields["source"].annotation)[0]: kind
    for kind in get_args(get_args(Download)[0])
}


class Params(Section):
    """The whole of `params.yaml`."""

    experiment: str = Field(
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$",
        description="Results go to `results/<experiment>/`.",
    )
    seed: int = Field(0, ge=0, description="Every random choice derives from it.")
    compute: Compute = Compute()
    download: Download
    index: IndexSection = IndexSection()
    train_cam: TrainCam = TrainCam()
    infer_cam: InferCam = InferCam()
    readout: Readout = Readout()
    pseudo_labels: PseudoLabels = PseudoLabels()
    crf: Crf = Crf()
    train_seg: TrainSeg = TrainSeg()
    relabel: Relabel = Relabel()
    infer_seg: InferSeg = InferSeg()
    evaluate: Evaluate = Evaluate()
    report: Report = Report()
    track: Track = Track()

    @model_validator(mode="after")
    def _pseudo_comes_first(self) -> Params:
        if "pseudo" not in self.train_seg.supervisions:
            raise ValueError("train_seg.supervisions must hold 'pseudo'")
        return self

    @model_validator(mode="after")
    def _rounds_have_teachers(self) -> Params:
        trained, teachers = self.train_seg.supervisions, self.relabel.teachers
        rounds = set(ROUNDS).intersection(trained)
        if rounds != set(teachers):
            odd = ", ".join(sorted(rounds ^ set(teachers)))
            raise ValueError(
                f"{odd}: a round of self-training is named both in train_seg.supervisions "
                "(round_1: relabel/round_1) and in relabel.teachers (round_1: pseudo)"
            )
        for name, teacher in teachers.items():
            if teacher not in trained:
                raise ValueError(f"relabel.teachers.{name}: {teacher} is not trained")
        return self

    @model_validator(mode="after")
    def _accumulated_maps_exist(self) -> Params:
        accumulated = self.infer_cam.training_maps == "accumulated"
        if accumulated and not self.train_cam.attention.accumulate:
            raise ValueError(
                "infer_cam.training_maps: accumulated needs train_cam.attention.accumulate: true"
            )
        return self

    @model_validator(mode="after")
    def _labels_read_what_is_written(self) -> Params:
        posteriors = self.readout.method == "prototypes"
        if posteriors != (self.pseudo_labels.background == "posterior"):
            raise ValueError(
                f"readout.method: {self.readout.method} does not go with pseudo_labels.background: "
                f"{self.pseudo_labels.background}; `prototypes` goes with `posterior`, and `cams` "
                "with each of the others"
            )
        return self

    @model_validator(mode="after")
    def _readout_starts_from_what_is_there(self) -> Params:
        if self.readout.method == "prototypes" and self.readout.start == "rsa":
            rsa = self.train_cam.rsa
            if not (rsa.enabled and rsa.background) or self.readout.blocks is not None:
                raise ValueError(
                    "readout.start: rsa needs train_cam.rsa.enabled and train_cam.rsa.background, "
                    "and readout.blocks: null, since RSA's prototypes are of the last block"
                )
        return self


def load(path: Path) -> Params:
    """Read and check a parameter file.

    Raises:
        ConfigError: the file is missing, is not valid YAML, or has a wrong key or value; each fault
            has a line of its own.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; run from the repository's root") from None
    except (yaml.YAMLError, UnicodeDecodeError, IsADirectoryError) as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"{path} cannot be used:\n{_explain(error)}") from None


def check_supply(params: Params) -> None:
    """Check that the data set will have what later stages are configured to use.

    This is separate from `load`, so that a preset can be shipped without the files that only its
    user has. What an archive holds is checked by stage `check`.

    Raises:
        ConfigError: saliency maps are wanted, and the source does not bring them.
    """
    source = params.download
    brings = source.source == "archive" or (source.source == "voc12_aug" and source.saliency)
    wanted = saliency_keys(params)
    if not wanted or brings:
        return
    if source.source == "voc12_aug":
        raise ConfigError(
            f"{wanted[0]} needs maps, and VOC 2012 and SBD have none\n"
            "  pack yours (<image>.png of every training image) and set download.saliency and\n"
            f"  download.saliency_sha256 to the archive, or {WITHOUT_SALIENCY}"
        )
    raise ConfigError(
        f"{wanted[0]} needs saliency maps, which download.source: {source.source} does not bring; "
        f"{WITHOUT_SALIENCY}"
    )


WITHOUT_SALIENCY = (
    "set readout.saliency to false and pseudo_labels.background to one that needs no maps"
)


def saliency_keys(params: Params) -> list[str]:
    """List the settings that use saliency maps, as they are written in the file."""
    return [
        *["pseudo_labels.background: saliency"] * (params.pseudo_labels.background == "saliency"),
        *["readout.saliency: true"] * params.readout.saliency,
    ]


def _explain(error: ValidationError) -> str:
    lines = []
    for fault in error.errors():
        key = _key(fault["loc"])
        if fault["type"] == "extra_forbidden":
            close = get_close_matches(str(fault["loc"][-1]), _keys(fault["loc"][:-1]), 1)
            hint = f"did you mean {close[0]}?" if close else "remove it or correct its name"
            lines.append(f"  {key}: no such key; {hint}")
        elif fault["type"] == "missing":
            lines.append(f"  {key}: missing")
        elif fault["type"] == "secret":
            lines.append(f"  {key}: {fault['msg']}")  # without the value, which is secret
        elif fault["type"] == "union_tag_not_found":
            lines.append(f"  {key}.source: missing")
        else:
            lines.append(f"  {key}: {fault['msg']} (it is {fault['input']!r})")
    return "\n".join(lines)


def _keys(parts: tuple[int | str, ...]) -> list[str]:
    """List the keys of the section at pydantic's location `parts`."""
    section: type[BaseModel] = Params
    for part in parts:
        if section is Params and part == "download":
            continue  # a union: the chosen source comes next
        field = section.model_fields.get(str(part))
        kind = SOURCES.get(str(part)) or (field and field.annotation)
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            return []
        section = kind
    return list(section.model_fields)


def _key(parts: tuple[int | str, ...]) -> str:
    """Return the key as it is written: pydantic adds the chosen source after `download`."""
    if parts[0:1] == ("download",):
        parts = (parts[0], *parts[2:])
    return ".".join(str(part) for part in parts) or "(the file)"


def json_schema() -> str:
    """Write the JSON schema of `params.yaml`, for editors."""
    return json.dumps(Params.model_json_schema(), indent=2) + "\n"
