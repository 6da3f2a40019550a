"""The parameter file: what is refused, and that all of ours load."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from rca.config import ConfigError, Params, check_supply, json_schema, load

REPOSITORY = Path(__file__).parents[1]
PRESETS = [*sorted(REPOSITORY.glob("configs/*.yaml")), *REPOSITORY.glob("params.yaml")]

MINIMAL = {
    "experiment": "tiny",
    "download": {"source": "archive", "name": "set", "archive": "set.tar", "sha256": "0" * 64},
}


def source(kind: str = "archive", **changes) -> dict:
    return {"source": kind, "name": "set"} | changes


def loaded(folder: Path, **changes) -> Params:
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(MINIMAL | changes))
    return load(path)


def refusal(folder: Path, **changes) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loaded(folder, **changes)
    first, *lines = str(caught.value).split("\n")
    assert first == f"{folder / 'params.yaml'} cannot be used:"
    return lines


def test_load__the_rest_has_defaults(tmp_path):
    params = loaded(tmp_path, train_cam={"rsc": {"temperature": 0.1}})
    assert params.train_cam.rsc.temperature == 0.1
    assert params.train_cam.rsc.enabled and params.train_cam.memory.slots == 500
    assert params.download.archive == Path("set.tar")


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"trian_cam": {}}, "trian_cam: no such key"),
        ({"train_cam": {"epoch": 3}}, "train_cam.epoch: no such key; did you mean epochs?"),
        ({"download": source(archiv="s", archive="s", sha256="0" * 64)}, "did you mean archive?"),
        ({"xyz": 3}, "xyz: no such key; remove it"),
        ({"train_cam": {"rsc": {"tau": 1}}}, "train_cam.rsc.tau: no such key"),
        ({"train_cam": {"epochs": "many"}}, "train_cam.epochs: .*'many'"),
        ({"train_cam": {"epochs": 0}}, "train_cam.epochs: .*greater than or equal to 1.*it is 0"),
        (
            {"train_cam": {"backbone": {"name": "resnet5"}}},
            r"train_cam\.backbone\.name: .*no such backbone; did you mean resnet50\?",
        ),
        ({"train_cam": {"backbone": {"name": "swin"}}}, "no such backbone; have vgg16, .*, timm/"),
        ({"train_seg": {"backbone": {"name": "timm/"}}}, "no such backbone; "),
        ({"pseudo_labels": {"threshold": 1.5}}, "pseudo_labels.threshold: .*it is 1.5"),
        ({"crf": {"method": "sparse"}}, "crf.method: .*'dense' or 'none'"),
        ({"seed": -1}, "seed: "),
        ({"experiment": "a/b"}, "experiment: "),
        ({"index": {"classes": []}}, "index.classes: "),
        ({"download": source(archive="set.tar")}, "download.sha256: missing"),
        ({"download": source(archive="set.tar", sha256="0")}, "download.sha256: .*match pattern"),
        ({"download": {"name": "set"}}, "download.source: missing"),
        ({"download": source("ftp")}, "download: .*'archive', 'voc12_aug'"),
        ({"download": source("voc12_aug", archive="set.tar")}, "download.archive: no such key"),
        ({"download": source("voc12_aug", tags="list")}, "download: .*tags_list and tags_sha256"),
        (
            {"download": source("voc12_aug", tags_list="t.csv")},
            "download: .*needed with tags: list",
        ),
        ({"download": source("voc12_aug", saliency="s.tar")}, "download: .*go together"),
        ({"download": source("voc12_aug", name="embedded")}, "download.name: "),
        ({"download": source("voc12_aug", name="../set")}, "download.name: "),
        ({"train_seg": {"supervisions": {"truth": "index"}}}, "must hold 'pseudo'"),
        ({"train_seg": {"supervisions": ["pseudo"]}}, "is a mapping: {pseudo: crf}"),
        ({"train_seg": {"supervisions": {"pseudo": "index"}}}, "the labels of pseudo are .* crf"),
        ({"train_seg": {"supervisions": {"pseudo": "crf", "more": "crf"}}}, "more: is not one of"),
        ({"relabel": {"teachers": {"round_1": "truth"}}}, "a teacher is pseudo or an earlier"),
        ({"relabel": {"teachers": {"round_1": "round_2"}}}, "a teacher is pseudo or an earlier"),
        ({"relabel": {"teachers": {"first": "pseudo"}}}, "first: rounds are named round_1"),
        ({"relabel": {"teachers": {"round_1": "pseudo"}}}, "round_1: .*train_seg.supervisions"),
        (
            {"train_seg": {"supervisions": {"pseudo": "crf", "round_1": "relabel/round_1"}}},
            "round_1: .*relabel.teachers",
        ),
        ({"train_cam": {"attention": {"drop": True}}}, "train_cam.attention: .*set `accumulate`"),
        ({"infer_cam": {"training_maps": "accumulated"}}, "needs train_cam.attention.accumulate"),
        ({"readout": {"method": "prototypes"}}, "prototypes does not go with .*: threshold; "),
        ({"pseudo_labels": {"background": "posterior"}}, "cams does not go with .*: posterior; "),
        ({"readout": {"blocks": [3, 3]}}, "readout: .*names a block twice"),
        ({"readout": {"blocks": []}}, "readout.blocks: "),
        ({"readout": {"saliency_trust": 1}}, "readout.saliency_trust: .*less than 1"),
    ],
)
def test_load__wrong_key_or_value(tmp_path, changes, line):
    import re

    (only,) = refusal(tmp_path, **changes)
    assert re.search(line, only), only


@pytest.mark.parametrize("background", ["posterior", "threshold", "power", "saliency"])
@pytest.mark.parametrize("method", ["prototypes", "cams"])
def test_load__prototypes_and_posterior_go_together(tmp_path, method, background):
    changes = {"readout": {"method": method}, "pseudo_labels": {"background": background}}
    if (method == "prototypes") == (background == "posterior"):
        assert loaded(tmp_path, **changes).readout.method == method
    else:
        (line,) = refusal(tmp_path, **changes)
        assert f"readout.method: {method}" in line and f"background: {background}" in line


def test_check_supply__maps_that_the_source_does_not_bring(tmp_path):
    maps = {"saliency": "s.tar", "saliency_sha256": "0" * 64}
    wants = {"pseudo_labels": {"background": "saliency"}}
    check_supply(loaded(tmp_path, download=source("voc12_aug")))
    check_supply(loaded(tmp_path, download=source("voc12_aug", **maps), **wants))
    with pytest.raises(
        ConfigError, match=r"background: saliency needs maps.*\n.*download\.saliency"
    ):
        check_supply(loaded(tmp_path, download=source("voc12_aug"), **wants))


@pytest.mark.parametrize("kind", ["voc12_aug", "coco14", "folder"])
def test_check_supply__the_readout_needs_the_maps_as_well(tmp_path, kind):
    wants = {"readout": {"saliency": True}}
    brought = {"folder": {"folder": "photographs"}}.get(kind, {})
    with pytest.raises(ConfigError, match=r"readout.saliency: true needs"):
        check_supply(loaded(tmp_path, download=source(kind, **brought), **wants))
    maps = {"saliency": "s.tar", "saliency_sha256": "0" * 64}
    check_supply(loaded(tmp_path, download=source("voc12_aug", **maps), **wants))


def test_load__every_fault_on_a_line_of_its_own(tmp_path):
    lines = refusal(tmp_path, colour="red", seed="x", train_seg={"epochs": -1})
    assert len(lines) == 3
    for key in ("colour", "seed", "train_seg.epochs"):
        assert sum(line.startswith(f"  {key}:") for line in lines) == 1


def test_load__missing_file(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml: no such file"):
        load(tmp_path / "none.yaml")


@pytest.mark.parametrize("text", ["a: [1, 2", "a: b: c", "\tseed: 1"])
def test_load__not_yaml(tmp_path, text):
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"params\.yaml: not valid YAML"):
        load(tmp_path / "params.yaml")


@pytest.mark.parametrize("text", ["", "- 1\n", "word\n"])
def test_load__no_mapping(tmp_path, text):
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"params\.yaml cannot be used:\n  \(the file\): "):
        load(tmp_path / "params.yaml")


def test_params__are_immutable(tmp_path):
    params = loaded(tmp_path)
    with pytest.raises(ValidationError, match="frozen"):
        params.train_cam.epochs = 3


def test_digest__changes_with_every_value(tmp_path):
    sections = [
        loaded(tmp_path, train_cam=changes).train_cam
        for changes in ({}, {"epochs": 31}, {"rsc": {"beta": 7.0}}, {"view": {"flip": True}})
    ]
    assert len({section.digest() for section in sections}) == 4
    assert loaded(tmp_path).train_cam.digest() == sections[0].digest()
    assert len(sections[0].digest()) == 12


def test_json_schema__refuses_unknown_keys_and_describes():
    schema = json.loads(json_schema())
    assert schema["additionalProperties"] is False
    assert set(schema["required"]) == {"experiment", "download"}
    assert schema["$defs"]["Contrast"]["properties"]["beta"]["description"]


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.name)
def test_load__preset(path):
    assert load(path).train_cam.epochs >= 1


def test_load__presets_name_the_embedded_archive_as_it_is():
    embedded = [
        download
        for path in PRESETS
        if (download := load(path).download).source == "archive"
        and "embedded" in download.archive.parts
    ]
    assert embedded
    for download in embedded:
        archive = REPOSITORY / download.archive
        assert hashlib.sha256(archive.read_bytes()).hexdigest() == download.sha256
