"""The page of what takes how long: its tables are the recorded ones, and their sums add up."""

from __future__ import annotations

import os

import pytest

from benchmarks import libraries, stage_times
from benchmarks.records import place_table
from rca.presentation.result_files import read_json

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


def test_start__is_that_of_the_stage_s_module():
    light, heavy = (
        stage_times.start_of(stage, os.environ, processes=1) for stage in ("index", "train_cam")
    )
    assert 0 < light < heavy  # the one loads no torch


def test_confusion__is_that_of_the_libraries():
    assert libraries.confusion(repeats=1)["agreement"] == "the same counts"


@pytest.mark.parametrize("benchmark", [stage_times, libraries])
def test_page__has_the_recorded_table(benchmark):
    text = benchmark.PAGE.read_text(encoding="utf-8")
    table = benchmark.page_table(read_json(benchmark.RECORD))
    assert f"<!-- table: {benchmark.RECORD} -->\n{table}" in text
    assert place_table(text, benchmark.RECORD, table) == text
