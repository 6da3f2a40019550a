"""docs/method.md names functions and tests that exist, and leaves none out."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/method.md").read_text(encoding="utf-8")
REFERENCES = sorted(set(re.findall(r"`((?:rca|tests)/[\w/]+\.py)::([\w.]+)`", PAGE)))


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


@pytest.mark.parametrize(("path", "name"), REFERENCES, ids=lambda part: str(part))
def test_method_page__reference_resolves(path: str, name: str) -> None:
    assert (ROOT / path).is_file(), f"docs/method.md names {path}, which does not exist"
    assert name in definitions(ROOT / path), f"docs/method.md names {name}, not in {path}"


def test_method_page__every_row_names_a_function_and_a_test() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 30
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert len(cells) == 4, row
        assert cells[1].startswith("`rca/method/"), row
        assert cells[2].startswith("`tests/method/"), row


def test_method_page__every_public_function_has_a_row() -> None:
    named = {name.split(".")[0] for path, name in REFERENCES if path.startswith("rca/")}
    public = {
        name
        for path in (ROOT / "rca/method").glob("*.py")
        for name in definitions(path)
        if "." not in name and not name.startswith("_")
    }
    assert public - named == {"unit", "ObjectiveSettings"}


def test_method_page__names_every_value_of_every_switch() -> None:
    values = set()
    for path in (ROOT / "rca/method").glob("*.py"):
        for choices in re.findall(r"^\w+ = Literal\[(.*)\]$", path.read_text("utf-8"), re.M):
            values.update(re.findall(r'"(\w+)"', choices))
    assert len(values) > 10
    assert values - set(re.findall(r"`(\w+)`", PAGE)) == set()
