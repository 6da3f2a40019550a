"""The page of what takes how long: its tables are the recorded ones, and their sums add up."""

from __future__ import annotations

import os

import pytest

from benchmarks import libraries, loader, stage_times
from rca.config import load
from rca.presentation.result_files import read_json
from tools.checkout import ROOT
from tools.records import publish

CONTENT = {
    "run": {"wall_s": 30.0, "cpu_s": 25.0},
    "stages": {
        "index": {"wall_s": 5.0, "command_s": 3.0, "cpu_s": 4.0, "start_s": 1.0},
        # A command so short that the start was not seen whole
        "crf": {"wall_s": 15.0, "command_s": 0.5, "cpu_s": 14.0, "start_s": 0.8},
    },
}


def test_rows__take_each_stage_apart_and_add_up():
    assert stage_times.rows(CONTENT)[1:] == [
        ("`index`", "5.0", "2.0", "1.0", "2.0", "4.0"),
        ("`crf`", "15.0", "0.0", "0.5", "14.5", "14.0"),
        ("Snakemake", "10.0", "", "", "", "7.0"),
        ("**whole run**", "30.0", "2.0", "1.5", "16.5", "25.0"),
    ]


@pytest.mark.slow
def test_start__is_that_of_the_stage_s_module():
    light, heavy = (
        stage_times.start_of(stage, os.environ, processes=1) for stage in ("index", "train_cam")
    )
    assert 0 < light < heavy  # the one loads no torch


@pytest.mark.slow
def test_confusion__is_that_of_the_libraries():
    assert libraries.confusion(repeats=1)["agreement"] == "the same counts"


@pytest.mark.parametrize("benchmark", [stage_times, libraries, loader])
def test_page__has_the_recorded_table(benchmark):
    text = benchmark.PAGE.read_text(encoding="utf-8")
    for mark, table in benchmark.page_tables(read_json(benchmark.RECORD)).items():
        assert f"<!-- table: {mark} -->\n{table}<!-- end of table -->" in text


def test_loader__views_a_second_are_those_of_all_workers():
    row = {"preset": "p", "training": "t", "view_s": 0.02, "workers": 4, "batch": 10}
    assert loader.rows({"rows": [row]})[1] == ("`p`", "`t`", "20.0", "4", "200", "10", "50")


def test_loader__measures_the_views_of_the_preset(tmp_path):
    records = loader.photographs(tmp_path, 500)[:2]
    params = load(ROOT / "configs/voc12_paper.yaml")
    name, images, batch = next(loader.trainings(params, records))
    assert max(records[0].width, records[0].height) == 500
    assert (name, len(images), batch) == ("train_cam", 2, params.train_cam.batch_size)
    assert loader.seconds_a_view(images) > 0


def test_publish__measures_records_and_renders(tmp_path, monkeypatch, capsys):
    record, page = tmp_path / "record.json", tmp_path / "page.md"
    page.write_text(f"<!-- table: {record} -->\nold\n<!-- end of table -->\n")

    def run(*words: str, value: int) -> None:
        monkeypatch.setattr("sys.argv", ["benchmark", *words])
        publish(
            "",
            record,
            page,
            lambda: {"value": value},
            lambda content: {str(record): f"{content}\n"},
        )

    run(value=1)
    assert capsys.readouterr().out == "{'value': 1}\n\n"
    assert not record.exists()
    run("--record", value=2)
    run("--render", value=3)
    assert "{'value': 2}\n<!-- end" in page.read_text()
