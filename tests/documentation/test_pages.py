"""Every page is in the navigation; links lead somewhere, on GitHub too; commands exist."""

from __future__ import annotations

import re
import shlex

import pytest
import typer
from pages import DOCS, PAGES, README, ROOT, blocks, name_of, prose, slugs, text_of

from rca import cli

SHELL = [
    (page, line)
    for page in [README, *PAGES]
    for block in blocks(text_of(page), "console", "sh")
    for line in block.replace("\\\n", " ").splitlines()
]
VERBS = sorted(
    {(name_of(page), part.strip()) for page, line in SHELL for part in line.split(";")
     if part.strip().startswith("rca ")}
)  # fmt: skip


def in_navigation() -> set[str]:
    """The pages that the toctrees of index pages name."""
    found = {"index.md"}
    for page in DOCS.rglob("index.md"):
        for tree in blocks(text_of(page), "{toctree}"):
            entries = [line for line in tree.splitlines() if line and not line.startswith(":")]
            for entry in entries:
                matches = sorted(page.parent.glob(f"{entry}.md"))
                assert matches, f"{name_of(page)} lists {entry}"
                found |= {match.relative_to(DOCS).as_posix() for match in matches}
    return found


def test_navigation__has_every_page() -> None:
    assert {page.relative_to(DOCS).as_posix() for page in PAGES} == in_navigation()
    assert len(PAGES) > 30


@pytest.mark.parametrize("page", [README, *PAGES], ids=name_of)
def test_page__links_lead_to_files_and_headings_that_are_there(page) -> None:
    for link in re.findall(r"\]\((?!https?:)([^)\s]*)\)", prose(text_of(page))):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name_of(page)}: {link}"
        if anchor and target.suffix == ".md":
            assert anchor in slugs(text_of(target)), f"{name_of(page)}: {link}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_page__has_one_title(page) -> None:
    outside = re.sub(r"^```.*?^```", "", text_of(page), flags=re.M | re.S)
    assert len(re.findall(r"^# ", outside, re.MULTILINE)) == 1
    assert outside.startswith("# ")


@pytest.mark.parametrize(("page", "command"), VERBS)
def test_command__is_a_verb_with_options_that_it_has(page: str, command: str) -> None:
    words = shlex.split(re.sub(r"\s#.*$", "", command).split(" > ")[0])[1:]
    verb = typer.main.get_command(cli.app)
    while hasattr(verb, "commands"):
        word = words.pop(0)
        assert word in verb.commands, f"{page}: {command}"
        verb = verb.commands[word]
    options = {
        name for parameter in verb.params for name in parameter.opts + parameter.secondary_opts
    }
    asked = {word for word in words if word.startswith("--")}
    assert asked <= options, f"{page}: {command}"
    required = {p.opts[0] for p in verb.params if p.required and p.opts[0].startswith("--")}
    assert required <= asked, f"{page}: {command}"


def test_commands__are_many() -> None:
    assert len(VERBS) > 25


def test_make__has_the_targets_that_are_named() -> None:
    targets = set(re.findall(r"^(\w+):", text_of(ROOT / "Makefile"), re.MULTILINE))
    named = {
        target
        for page in [README, *PAGES]
        for target in re.findall(r"(?:^|`)make ([a-z]+)\b", text_of(page), re.MULTILINE)
    }
    assert {"demo", "reproduce", "docs"} <= named
    assert named <= targets
