"""params.yaml, the presets and their JSON schema."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from rca import config

ROOT = Path(__file__).parents[2]
FILES = [ROOT / "params.yaml", *sorted((ROOT / "configs").glob("*.yaml"))]
SCHEMA = ROOT / "workflow/schemas/params.schema.json"


@pytest.fixture(params=FILES, ids=lambda file: file.stem)
def file(request) -> Path:
    return request.param


def test_config__is_valid(file):
    config.load(file)


def test_config__names_every_key(file):
    # DVC sees what is written, not a default: a key left out would not be seen to change.
    written = yaml.safe_load(file.read_text(encoding="utf-8"))
    whole = config.load(file).model_dump(mode="json")

    assert keys(written) == keys(whole)


def test_config__points_editors_to_the_schema(file):
    first = file.read_text(encoding="utf-8").splitlines()[0]
    match = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)

    assert match and (file.parent / match[1]).resolve() == SCHEMA


def test_preset__is_its_own_experiment():
    presets = [file for file in FILES if file.parent.name == "configs"]

    assert [config.load(file).experiment for file in presets] == [file.stem for file in presets]


def test_schema__is_fresh():
    message = "run: rca schema > workflow/schemas/params.schema.json"
    assert SCHEMA.read_text(encoding="utf-8") == config.json_schema(), message


def keys(section: dict, prefix: str = "") -> set[str]:
    found = set()
    for key, value in section.items():
        found |= keys(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key}
    return found
