"""The pipeline's duration, from when its stages ran."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rca.runtime.files import write_json
from rca.tracking import times
from rca.tracking.times import Span, pipeline_span, timed

RESULTS = Path("results/v1.2")


@pytest.fixture(autouse=True)
def at(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def ran(stage: str, began: float, ended: float) -> None:
    write_json(times._place(RESULTS / stage), {"began": began, "ended": ended})


def test_pipeline_span__counts_what_ran_at_once_once_and_pauses_not_at_all():
    ran("index", 100, 110)
    ran("train_seg/pseudo", 1000, 1060)  # a day later
    ran("train_seg/truth", 1030, 1080)  # beside it
    ran("infer_seg/pseudo", 1040, 1050)  # within both

    assert pipeline_span(RESULTS) == Span(1080 - 10 - 80, 1080)


def test_pipeline_span__is_of_this_experiment_alone():
    ran("index", 100, 110)
    write_json(times._place(Path("results/v1/index")), {"began": 0, "ended": 1})

    assert pipeline_span(RESULTS) == Span(100, 110)
    assert pipeline_span(Path("results/other")) is None


def test_timed__notes_what_ended_well_and_nothing_else(monkeypatch):
    clock = iter([10.0, 25.0, 30.0])
    monkeypatch.setattr(times.time, "time", lambda: next(clock))
    with timed(RESULTS / "index"):
        pass
    with pytest.raises(ValueError), timed(RESULTS / "index"):
        raise ValueError

    (note,) = Path("state/times").rglob("*.json")
    assert json.loads(note.read_text()) == {"began": 10.0, "ended": 25.0}
    assert pipeline_span(RESULTS) == Span(10.0, 25.0)
