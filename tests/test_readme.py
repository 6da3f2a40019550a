"""What the README says holds: its table, its links, its commands, its presets."""

import json
import re
from pathlib import Path

import pytest

from benchmarks import method_record, method_study, predict_ways
from tools import record_run
from tools.records import place_table

README = Path("README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", record_run.PAGES)
def test_runs__tables_are_the_recorded_ones(name):
    record = record_run.record_of(name)
    text = record_run.PAGES[name].read_text(encoding="utf-8")
    table = record_run.table(json.loads(record.read_text(encoding="utf-8")))
    assert table in text
    assert place_table(text, record, table) == text


@pytest.mark.parametrize(("page", "mark", "rows", "columns"), method_study.TABLES)
def test_study__tables_are_the_recorded_ones(page, mark, rows, columns):
    text = page.read_text(encoding="utf-8")
    content = json.loads(method_record.RECORD.read_text(encoding="utf-8"))
    table = method_record.table(content, rows, columns)
    assert f"<!-- table: {mark} -->\n{table}" in text
    assert place_table(text, mark, table) == text


def test_predict__table_is_the_recorded_one():
    text = predict_ways.PAGE.read_text(encoding="utf-8")
    content = json.loads(predict_ways.RECORD.read_text(encoding="utf-8"))
    assert predict_ways.table(content) in text
    best = content["summary"]["prototypes"]
    assert f"reaches {best['mean']:.1f} ± {best['std']:.1f} % mIoU over three seeds" in README


def test_study__figure_is_the_recorded_one():
    content = json.loads(method_record.RECORD.read_text(encoding="utf-8"))
    drawn = method_study.figure(content, list(method_study.VARIANTS))
    assert method_study.FIGURE.read_text(encoding="utf-8") == drawn


def test_readme__links_exist():
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert len(links) > 5
    assert [link for link in links if not Path(link).exists()] == []


def test_readme__make_targets_exist():
    makefile = Path("Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"make (demo|test|[a-z]+)(?= |`)", README):
        if f"`make {target}`" in README or f"\nmake {target} " in README:
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_readme__lists_the_presets():
    named = set(re.findall(r"^\| `(\w+)` \|", README, re.MULTILINE))
    assert named == {path.stem for path in Path("configs").glob("*.yaml")}
