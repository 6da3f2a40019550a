"""`rca compare --page`: one page that stands on its own."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_results import evaluate_results, tiny_params, write_results

from rca import cli
from rca.data.images import write_label_map
from rca.data.palette import voc_palette

MASK = "infer_seg/pseudo/v.png"


@pytest.fixture
def two(tmp_path, monkeypatch) -> list[Path]:
    """Two results of the same data, `one` and `other`; the other's validation mask is all wrong."""
    results = write_results(tmp_path / "d")
    evaluate_results(results, tiny_params())
    one = results.rename(results.with_name("one"))
    other = one.with_name("other")
    shutil.copytree(one, other)
    write_label_map(other / MASK, np.ones((2, 2), np.uint8), voc_palette())
    shutil.rmtree(other / "evaluate")
    evaluate_results(other, tiny_params(boundary=0.05))
    (other / "track").mkdir()
    noted = {"git.commit": "c0ffee", "git.clean": "true", "data.md5": "feed.dir"}
    (other / "track/provenance.json").write_text(json.dumps(noted))
    monkeypatch.chdir(tmp_path)
    return [one, other]


def compare(*arguments: object) -> int:
    """Exit status of `rca compare arguments`."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as end:
        patch.setattr(sys, "argv", ["rca", "compare", *map(str, arguments)])
        cli.main()
    return end.value.code or 0


def text_of(page: Path) -> str:
    """The words of the page, without its style sheet, scripts and commands."""
    text = re.sub(r"<(style|script)\b.*?</\1>", "", page.read_text(), flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", text).split())


def row(page: Path, start: str) -> str:
    """The words of the first row of a table whose head begins with `start`."""
    rows = re.findall(r"<tr>(.*?)</tr>", page.read_text(), flags=re.DOTALL)
    words = (" ".join(re.sub(r"<[^>]+>", " ", row).split()) for row in rows)
    return next(row for row in words if row.startswith(start))


def facts(page: Path) -> dict:
    return json.loads(re.search(r'id="facts">(.*?)</script>', page.read_text())[1])


def test_page__holds_scores_gains_and_their_intervals(two, tmp_path, capsys):
    out = tmp_path / "new/page.html"
    assert compare(*two, "--page", out) == 0
    assert f"Page: {out.as_uri()}" in capsys.readouterr().out
    # 4 pixels: 0 2 / 2 2 as 0 2 / 2 1 and as 1 1 / 1 1.
    assert "Segmentation network val 55.6 55.6 to 55.6 0.0 0.0 to 0.0 −55.6 −55.6 to −55.6 yes" in (
        row(out, "Segmentation network val")
    )
    assert row(out, "dog 66.7") == "dog 66.7 0.0 −66.7 −66.7 to −66.7"
    assert row(out, "CAM seeds val").endswith("yes")
    assert "within 0.05 of the image&#39;s diagonal noted only" in row(out, "boundary within")
    assert "http" not in re.sub(r"http://www\.w3\.org\S*", "", out.read_text())
    assert not list(out.parent.glob(".*"))


def test_page__says_where_each_result_is_from(two, tmp_path):
    out = tmp_path / "page.html"
    compare(*two, "--page", out)
    text = text_of(out)
    assert "Commit not noted; stage track notes it" in text and "Commit c0ffee" in text
    assert "git checkout c0ffee" in text and "MD5 feed.dir" in text
    assert "The same in all" in text and text.count("Seed 0") == 1


def test_page__shows_masks_differences_and_the_truth_of_what_changed(two, tmp_path):
    out = tmp_path / "page.html"
    compare(*two, "--page", out, "--labels", "before,after")
    text = text_of(out)
    assert "75.0 % of the pixels differ" in text  # one of four stays as it was
    assert "only after is right" in text
    of = facts(out)["splits"]["val"]
    assert [stage["title"] for stage in of["stages"]] == ["before", "after", "Difference", "Truth"]
    assert of["products"] == [["result-1", "before"], ["result-2", "after"]]
    first, last = (of["scores"]["v"][f"result-{number}"][""] for number in (1, 2))
    assert last == 0 < first
    assert len(re.findall(r"<article", out.read_text())) == 3


def test_page__shows_as_many_photographs_as_asked_for(two, tmp_path):
    out = tmp_path / "page.html"
    compare(*two, "--page", out, "--photographs", 1)
    assert "1 of 2 are on this page" in text_of(out)
    compare(*two, "--page", out, "--photographs", 0)
    assert "<article" not in out.read_text() and "None were asked for" in text_of(out)


def test_page__without_masks_sorts_by_the_pixels_that_differ(two, tmp_path, capsys):
    for folder in two:
        index = folder / "index/index.csv"
        index.write_text(re.sub(r",Masks/\w\.png,", ",,", index.read_text()))
        shutil.rmtree(folder / "evaluate")
        evaluate_results(folder, tiny_params())
    out = tmp_path / "page.html"
    assert compare(*two) == 2
    assert "no scored product in common" in capsys.readouterr().err
    assert compare(*two, "--page", out) == 0
    text = text_of(out)
    assert "by the share of pixels that differ, for there are no true masks" in text
    assert "75.0 % of the pixels differ" in text and "Nothing to compare by number" in text
    assert 'id="scores"' not in out.read_text() and "Truth" not in text


def test_page__of_other_data_shows_what_both_have(two, tmp_path):
    index = two[1] / "index/index.csv"
    index.write_text(index.read_text().replace("b,train,", "c,train,").replace("v,val,", "w,val,"))
    out = tmp_path / "page.html"
    compare(*two, "--page", out)
    text = text_of(out)
    assert "1 of 3 images are in all results" in text
    assert "Validation photographs are not here: no image is in all results" in text


@pytest.mark.parametrize(
    ("lost", "told"),
    [
        ("index", "has no index"),
        ("../data/images/a.png", "are not in"),
        ("infer_seg", "Validation photographs are not here: not all results have masks of them"),
    ],
)
def test_page__says_why_there_are_no_photographs(two, tmp_path, lost, told):
    for folder in two:
        gone = folder / lost
        shutil.rmtree(gone) if gone.is_dir() else gone.unlink(missing_ok=True)
    assert compare(*two, "--page", tmp_path / "page.html") == 0
    assert told in text_of(tmp_path / "page.html")


def test_page__of_a_file_or_of_seeds_has_tables_alone(two, tmp_path):
    out, file = tmp_path / "page.html", two[1] / "evaluate/metrics.json"
    assert compare(two[0], file, "--page", out) == 0
    assert f"only the numbers of {file.name} are here, not its masks" in text_of(out)
    seeds = json.loads(file.read_text()) | {"seed": 7}
    file.write_text(json.dumps(seeds))
    again = two[0].with_name("again")
    shutil.copytree(two[1], again)
    (again / "evaluate/metrics.json").write_text(json.dumps(seeds | {"seed": 8}))
    assert compare(two[0], f"{two[1]},{again}", "--page", out) == 0
    text = text_of(out)
    assert "other,again stands for 2 runs" in text and "± 0.0, 2 seeds" in text


def test_page__marks_what_does_not_compare(two, tmp_path):
    file = two[1] / "evaluate/metrics.json"
    metrics = json.loads(file.read_text())
    metrics["protocol"]["signals"].append("saliency maps")
    file.write_text(json.dumps(metrics))
    out = tmp_path / "page.html"
    assert compare(*two, "--page", out) == 1
    assert row(out, "Segmentation network val").endswith("−55.6 no")  # and no interval
    assert "every score (train)" in row(out, "signals")
    assert "not comparable" in text_of(out)


def test_page__escapes_names(two, tmp_path):
    out = tmp_path / "page.html"
    compare(*two, "--page", out, "--labels", "<b>a</b>,<script>alert(1)</script>")
    assert "<b>a" not in out.read_text() and "<script>alert" not in out.read_text()
    assert "&lt;b&gt;a" in out.read_text()


def test_page__names_a_mask_that_is_missing(two, tmp_path, capsys):
    (two[1] / MASK).unlink()
    assert compare(*two, "--page", tmp_path / "page.html") == 2
    assert f"rca: {two[1] / MASK}: " in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()


def test_labels__are_one_of_each(two, capsys):
    assert compare(*two, "--labels", "a") == 2
    assert "give 2 names, one for each result" in capsys.readouterr().err
