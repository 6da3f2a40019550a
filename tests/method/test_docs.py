"""docs/explanation/method.md names functions, keys and tests that exist, and leaves none out."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest
import yaml

from rca.config import Section, TrainCam, load

ROOT = Path(__file__).parents[2]
FILE = "docs/explanation/method.md"
PAGE = (ROOT / FILE).read_text(encoding="utf-8")
REFERENCES = sorted(set(re.findall(r"`((?:rca|tests)/[\w/]+\.py)::([\w.]+)`", PAGE)))
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith("| what | function |")
]
METHOD = ("memory", "rsc", "rsa", "attention")  # the sections of `train_cam` that are the method's


def definitions(path: Path) -> set[str]:
    """Names of a module's functions and classes; methods as `Class.method`."""
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            methods = (item for item in node.body if isinstance(item, ast.FunctionDef))
            names.update(f"{node.name}.{method.name}" for method in methods)
    return names


def keys(section: Section, prefix: str) -> set[str]:
    """Dotted keys of a section and of those in it."""
    found = set()
    for name, value in section:
        nested = isinstance(value, Section)
        found |= keys(value, f"{prefix}{name}.") if nested else {prefix + name}
    return found


def choices() -> set[str]:
    """Every value of every switch of the method's sections."""
    fields = (
        field
        for section in METHOD
        for field in TrainCam.model_fields[section].annotation.model_fields.values()
    )
    kinds = (field.annotation for field in fields)
    return {value for kind in kinds if get_origin(kind) is Literal for value in get_args(kind)}


@pytest.mark.parametrize(("path", "name"), REFERENCES, ids=lambda part: str(part))
def test_method_page__reference_resolves(path: str, name: str) -> None:
    assert (ROOT / path).is_file(), f"{FILE} names {path}, which does not exist"
    assert name in definitions(ROOT / path), f"{FILE} names {name}, not in {path}"


def test_method_page__every_row_names_a_function_and_a_test() -> None:
    assert len(ROWS) > 30
    for row in ROWS:
        assert len(row) == 5, row
        assert re.match("`rca/(method|models)/", row[1]), row
        assert re.match("`tests/(method|models)/", row[3]), row


def test_method_page__keys_are_the_configurations_and_none_is_left_out() -> None:
    params = load(ROOT / "params.yaml")
    named = {key for row in ROWS for key in re.findall(r"`([\w.]+)`", row[2])}
    assert named <= keys(params, "")
    method = {
        key
        for section in METHOD
        for key in keys(getattr(params.train_cam, section), f"train_cam.{section}.")
    }
    method |= keys(params.readout, "readout.")
    switched_off = {f"train_cam.{section}.enabled" for section in ("rsc", "rsa")}
    of_machines = {f"readout.{key}" for key in ("network_stride", "memory_mb", "shard_size")}
    assert method - named == switched_off | of_machines


def test_method_page__every_public_function_has_a_row() -> None:
    named = {name.split(".")[0] for path, name in REFERENCES if path.startswith("rca/")}
    public = {
        name
        for path in (ROOT / "rca/method").glob("*.py")
        for name in definitions(path)
        if "." not in name and not name.startswith("_")
    }
    assert public - named == {
        "unit", "usable_length", "alone",
        "ObjectiveSettings", "ReadoutSettings", "Pixels", "Regions",
    }  # fmt: skip


def test_method_page__names_every_value_of_every_switch() -> None:
    values = set()
    for path in (ROOT / "rca/method").glob("*.py"):
        for listed in re.findall(r"^\w+ = Literal\[(.*)\]$", path.read_text("utf-8"), re.M):
            values.update(re.findall(r'"(\w+)"', listed))
    assert len(values) > 10
    assert (values | choices()) - set(re.findall(r"`(\w+)`", PAGE)) == set()


def test_released_code__differs_from_the_paper_s_preset_by_the_method_s_switches_alone() -> None:
    paper, code = (
        yaml.safe_load((ROOT / f"configs/{name}.yaml").read_text(encoding="utf-8"))
        for name in ("voc12_paper", "released_code")
    )
    allowed = {("experiment",), ("infer_cam", "training_maps")}
    allowed |= {("train_cam", section) for section in METHOD}
    different = {("experiment",)}
    for section, values in paper.items():
        if isinstance(values, dict):
            different |= {(section, key) for key in values if values[key] != code[section][key]}
        else:
            assert section == "experiment" or values == code[section]
    assert different == allowed
