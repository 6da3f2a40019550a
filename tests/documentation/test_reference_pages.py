"""The reference has every key, verb and output; what docs/ holds of the code is fresh."""

from __future__ import annotations

import json
import re

import pytest
import typer
import yaml
from pages import DOCS, ROOT, text_of
from pydantic import BaseModel

from rca import cli
from rca.config import Params
from rca.config.params import SOURCES
from tools.reference import commands, decisions, drawings, parameters, pipeline, python
from tools.reference.__main__ import texts
from tools.reference.markdown import escaped, table

PARAMETERS = parameters.page(ROOT)


def keys(section: type[BaseModel], prefix: str = "") -> set[str]:
    """Dotted keys of a section and of those in it; those of a source behind its name."""
    found = set()
    for name, field in section.model_fields.items():
        if name == "download":
            for source, kind in SOURCES.items():
                found |= keys(kind, f"download.{source}.")
        elif isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found |= keys(field.annotation, f"{prefix}{name}.")
        else:
            found.add(prefix + name)
    return found


def test_parameters__are_those_of_the_configuration() -> None:
    anchors = set(re.findall(r"^\[`\w+`\]\{#([\w-]+)\}$", PARAMETERS, re.MULTILINE))
    wanted = keys(Params)
    assert len(wanted) > 150
    assert anchors == {key.replace(".", "-") for key in wanted}


def test_parameters__have_the_default_of_the_section_that_they_are_in() -> None:
    for path in ("train_cam.view", "train_seg.view"):
        section = PARAMETERS.partition(f"## `{path}`")[2].partition("\n#")[0]
        of_params = Params.model_fields[path.split(".")[0]].default.view
        assert f"default `{of_params.mode}`" in section
        assert f"default `{json.dumps(list(of_params.scale))}`" in section


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ({"type": "integer", "minimum": 1}, "whole number ≥ 1"),
        ({"type": "number", "minimum": 0, "maximum": 0.5}, "number ≥ 0 and ≤ 0.5"),
        ({"type": "string", "enum": ["a", "b", "c"]}, "`a`, `b` or `c`"),
        ({"anyOf": [{"type": "string", "format": "path"}, {"type": "null"}]}, "path or `null`"),
        (
            {"type": "array", "items": {"type": "integer", "minimum": 0}},
            "list of whole numbers ≥ 0",
        ),
        (
            {"type": "array", "prefixItems": [{"type": "number", "exclusiveMinimum": 0}] * 2},
            "list of 2 numbers > 0",
        ),
    ],
)
def test_in_words__says_type_and_bounds(field, words) -> None:
    assert parameters.in_words(field) == words


def test_commands__are_all_verbs_with_all_options() -> None:
    page = commands.page(ROOT)
    app = typer.main.get_command(cli.app)
    verbs = {f"rca {name}": verb for name, verb in app.commands.items() if name != "data"}
    verbs |= {f"rca data {name}": verb for name, verb in app.commands["data"].commands.items()}
    assert set(re.findall(r"^### `(.*)`$", page, re.MULTILINE)) == set(verbs)
    for name, verb in verbs.items():
        section = page.partition(f"### `{name}`")[2].partition("\n### ")[0]
        for option in (opt for parameter in verb.params for opt in parameter.opts):
            assert option in section, f"{name} {option}"


def test_outputs__are_those_of_dvc_yaml() -> None:
    page, stages = pipeline.outputs_page(ROOT), pipeline.stages(ROOT)
    assert re.findall(r"^### `(\w+)`$", page, re.MULTILINE) == list(stages)
    written = [
        pipeline.readable(path) for stage in stages.values() for path in pipeline.outputs(stage)
    ]
    assert re.findall(r"^- `(.*)`$", page, re.MULTILINE) == written
    assert "results/<experiment>/train_seg/<supervision>/weights.safetensors" in written
    assert "results/<experiment>/relabel/<round>" in written


def test_outputs__of_the_table_by_hand_are_written_by_stages() -> None:
    rows = text_of(DOCS / "reference/outputs.md").partition("A mask is")[0]
    paths = re.findall(r"`(results/<experiment>/[^`]+)`", rows)
    written = [
        pipeline.readable(path).replace("<supervision>", "pseudo")
        for stage in pipeline.stages(ROOT).values()
        for path in pipeline.outputs(stage)
    ]
    # The copy of the report is no output for DVC: it says when and where it was made.
    odd = [p for p in paths if not any(p == w or p.startswith(f"{w}/") for w in written)]
    assert odd == ["results/<experiment>/track/report.html"]
    assert len(paths) > 8


def test_python__is_what_rca_exports() -> None:
    import rca

    page = python.interface(ROOT)
    assert set(re.findall(r"rca\.(\w+)", page)) == set(rca.__all__)


def test_decisions__have_number_status_and_date() -> None:
    rows = decisions.page(ROOT).splitlines()[2:]
    numbers = [int(row.split("|")[1]) for row in rows]
    assert numbers == list(range(1, len(rows) + 1))
    assert len(rows) == len(list((DOCS / "decisions").glob("0*.md")))


@pytest.mark.parametrize(("file", "text"), texts().items(), ids=lambda part: str(part)[:40])
def test_docs__drawings_and_tables_are_fresh(file, text) -> None:
    assert text_of(ROOT / file) == text, "make drawings"


def test_slurm__every_stage_with_a_request_is_in_the_guide() -> None:
    guide = text_of(DOCS / "guides/slurm.md")
    asked = [
        name for name, stage in pipeline.stages(ROOT).items() if "slurm" in stage.get("meta", {})
    ]
    assert len(asked) > 5
    assert pipeline.slurm_table(ROOT) in guide
    for name in asked:
        assert f"| `{name}`" in guide


def test_needs__are_as_dvc_yaml_s_paths_say() -> None:
    needs = pipeline.needs(ROOT, yaml.safe_load(text_of(ROOT / drawings.PRESET)))
    assert needs["crf"] == {"pseudo_labels"}
    assert needs["relabel@round_1"] == {"train_seg@pseudo"}
    assert needs["evaluate"] == {"infer_seg@pseudo", "infer_seg@round_1"}
    assert needs["check"] == set()


def test_drawing__shows_every_stage_and_layer() -> None:
    stages = drawings.pipeline_svg(ROOT)
    for name in pipeline.stages(ROOT):
        assert f">{name}<" in stages or f">{name}@" in stages
    assert stages.count('class="tip"') == 16
    packages = {path.parent.name for path in (ROOT / "rca").glob("*/__init__.py")}
    shown = set(re.findall(r'class="name">(\w+)<', drawings.layers_svg(ROOT)))
    assert packages <= shown


def test_markdown__is_literal_but_for_code() -> None:
    assert escaped("a <b> `<c>_*` d_e [f] g|h") == r"a \<b\> `<c>_*` d\_e \[f\] g\|h"
    assert table(["x"], [["a|b"]]) == "| x |\n| --- |\n| a\\|b |"
