"""The environments for clusters hold the versions of uv.lock."""

from __future__ import annotations

import re
import tomllib
from itertools import chain
from pathlib import Path

from packaging.requirements import Requirement

LOCK = Path("uv.lock")
LISTED = [
    Requirement(line)
    for line in Path("envs/requirements.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]


def test_requirements__are_versions_of_the_lock():
    packages = tomllib.loads(LOCK.read_text(encoding="utf-8"))["package"]
    locked = {(package["name"], package.get("version")) for package in packages}
    listed = {(item.name, str(item.specifier).removeprefix("==")) for item in LISTED}

    assert len(listed) > 100
    assert listed <= locked, "make lock"


def test_requirements__hold_what_the_project_names():
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = chain(project["dependencies"], *project["optional-dependencies"].values())
    named = {Requirement(line).name for line in lines}

    assert named <= {item.name for item in LISTED}, "make lock"


def test_environments__read_the_requirements_and_have_the_projects_python():
    conda = Path("envs/environment.yaml").read_text(encoding="utf-8")
    apptainer = Path("envs/rca.def").read_text(encoding="utf-8")

    assert "--requirement requirements.txt" in conda and "requirements.txt" in apptainer
    assert re.search(r"python=3\.11$", conda, re.MULTILINE)
