"""Scores of several seeds: their spread, and what must not be put together."""

from __future__ import annotations

import json

import pytest

from benchmarks import seeds
from rca.config import ConfigError
from tools.records import place_table


def run(seed: int, network: float, threshold: float = 0.25) -> dict:
    miou = {"crf_train": 70.0, "network_val": network, seeds.RATIO: network / 60}
    return {"seed": seed, "miou": miou, "protocol": {"threshold": threshold}}


def test_of_runs__mean_and_sample_deviation_by_seed():
    found = seeds.of_runs([run(1, 54.0), run(0, 50.0), run(2, 55.0)])
    assert list(found["seeds"]) == ["0", "1", "2"]
    assert found["summary"]["network_val"] == {"mean": 53, "std": 2.6458}
    assert found["summary"]["crf_train"]["std"] == 0


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ([run(0, 50), run(0, 50)], "different ones"),
        ([run(0, 50)], "at least two"),
        ([run(0, 50), run(1, 50, 0.3)], r"seed 1: another protocol \(threshold\)"),
    ],
)
def test_of_runs__refuses_what_does_not_belong_together(runs, expected):
    with pytest.raises(ConfigError, match=expected):
        seeds.of_runs(runs)


def test_table__has_a_row_for_each_product_and_the_ratio():
    lines = seeds.table(seeds.of_runs([run(0, 48.0), run(1, 54.0)])).splitlines()
    assert lines == [
        "| mIoU in % | seed 0 | seed 1 | mean |",
        "|---|---:|---:|---:|",
        "| Pseudo-labels after CRF, train | 70.0 | 70.0 | 70.0 ± 0.0 |",
        "| Segmentation network, val | 48.0 | 54.0 | 51.0 ± 4.2 |",
        "| *from tags ÷ from true masks* | 0.80 | 0.90 | 0.85 ± 0.07 |",
    ]


def test_page__tables_are_the_recorded_ones():
    if not seeds.RECORD.exists():
        pytest.skip("not measured yet")
    text = seeds.PAGE.read_text(encoding="utf-8")
    for name, content in json.loads(seeds.RECORD.read_text(encoding="utf-8")).items():
        table = seeds.table(content)
        assert f"<!-- table: {seeds.RECORD}#{name} -->\n{table}" in text
        assert place_table(text, f"{seeds.RECORD}#{name}", table) == text
