"""The table of doubts in docs/explanation/evaluation.md is the recorded one."""

from __future__ import annotations

import json

import numpy as np

from benchmarks import doubt


def test_table__is_the_recorded_one():
    splits = json.loads(doubt.RECORD.read_text(encoding="utf-8"))["splits"]
    text = doubt.PAGE.read_text(encoding="utf-8")
    assert f"<!-- table: {doubt.RECORD} -->\n{doubt.table_of(splits)}" in text


def test_summary__ranks_and_names_the_most_doubtful():
    truth = np.arange(10.0)
    rows = [{"readout": value / 10, "confidence": -value} for value in truth]
    found = doubt.summary(rows, truth)
    assert found["correlations"] == {"readout": 1.0, "confidence": -1.0}
    assert found["iou"] == 4.5 and found["iou_of_the_most_doubtful_tenth"] == 0
