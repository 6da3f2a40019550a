"""CONTRIBUTING.md, CITATION.cff, CHANGELOG.md and .github/ name what is there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.specifiers import SpecifierSet

from tools import release

ROOT = Path(__file__).parents[1]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
PATH = re.compile(r"`(?:rca schema > )?([\w./-]+(?:/|\.(?:cff|j2|json|lock|md|py|toml|txt|yaml)))`")


def steps() -> list[tuple[str, str, str]]:
    """The steps of the recipes that have an example: its word, a path, the recipe's title."""
    found = []
    for recipe in re.split(r"^### ", CONTRIBUTING, flags=re.MULTILINE)[1:]:
        title, text = recipe.split("\n", 1)
        if example := re.search(r"^Example: `(\w+)`", text, re.MULTILINE):
            for step in re.findall(r"^\d+\. (.*)$", text, re.MULTILINE):
                # Before the colon stands what is edited.
                found += [(example[1], path, title) for path in PATH.findall(step.split(":")[0])]
    return found


@pytest.mark.parametrize("path", sorted(set(PATH.findall(CONTRIBUTING))))
def test_contributing__names_files_that_exist(path):
    if path != "source.json":  # written by a source
        assert (ROOT / path).exists()


@pytest.mark.parametrize(("word", "path", "recipe"), steps())
def test_recipe__its_example_is_in_every_file_that_it_edits(word, path, recipe):
    edited = ROOT / path
    for file in sorted(edited.glob("*.yaml")) if edited.is_dir() else [edited]:
        assert word in file.read_text(encoding="utf-8").lower(), f"{recipe}: {file}"


def test_recipes__are_those_that_people_need():
    titles = {title for _, _, title in steps()}
    wanted = {"a stage", "a data set", "a switch of the method", "a metric"}
    assert titles == {f"Add {what}" for what in wanted}
    assert len(steps()) > 25


def test_texts__name_make_targets_that_exist():
    texts = [CONTRIBUTING, *(path.read_text(encoding="utf-8") for path in files_of_github())]
    named = {target for text in texts for target in re.findall(r"\bmake ([a-z]+)\b", text)}
    assert {"check", "test", "lint", "reproduce"} <= named & TARGETS
    assert named - TARGETS == set()


def files_of_github() -> list[Path]:
    return [path for path in (ROOT / ".github").rglob("*") if path.is_file()]


def test_citation__is_of_the_software_and_the_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads(PYPROJECT)["project"]
    (paper,) = citation["references"]

    assert citation["license"] == project["license"]
    assert "version" not in citation  # stated once, in pyproject.toml
    assert [author["family-names"] for author in paper["authors"]] == [
        "Zhou",
        "Zhang",
        "Zhao",
        "Li",
    ]
    assert paper["title"].startswith("Regional Semantic Contrast and Aggregation")
    assert paper["year"] == 2022


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_workflow__has_the_least_permissions_and_pinned_actions(file):
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert content["permissions"] == {"contents": "read"}
    for job in content["jobs"].values():
        assert "permissions" not in job and job["timeout-minutes"]
        for step in job["steps"]:
            assert re.search(r"@v\d+$", step.get("uses", "@v0"))


def test_ci__runs_every_python_that_the_project_allows():
    content = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    allowed = SpecifierSet(tomllib.loads(PYPROJECT)["project"]["requires-python"])
    pythons = content["jobs"]["check"]["strategy"]["matrix"]["python"]
    assert pythons == [f"3.{minor}" for minor in range(30) if f"3.{minor}" in allowed]


def test_changelog__has_a_heading_for_what_is_to_come():
    headings = re.findall(r"^## (.*)$", CHANGELOG, re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", text) for text in headings[1:])


def test_release__of_what_agrees():
    assert release.faults("1.2.0", "## [1.2.0] - 2030-01-31\n", ["v1.1.0"], "") == []


@pytest.mark.parametrize(
    ("changelog", "tags", "changed", "fault"),
    [
        ("## [1.2.0] - 2030-01-31", [], " M Makefile\n", "commit them first:\n M Makefile"),
        ("## [1.2.0] - 2030-01-31", ["v1.2.0"], "", "raise the version"),
        ("## [1.2.0]", [], "", "no heading"),
        ("## [1.200] - 2030-01-31", [], "", "no heading"),
    ],
)
def test_release__says_what_is_in_the_way(changelog, tags, changed, fault):
    (found,) = release.faults("1.2.0", changelog, tags, changed)
    assert fault in found
