"""`rca compare` and `rca submit`: arguments, messages and exit codes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rca import cli
from rca.data.images import write_label_map
from rca.data.palette import voc_palette


def rca(monkeypatch, *arguments: object) -> int:
    """Exit status of `rca arguments`."""
    monkeypatch.setattr(sys, "argv", ["rca", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return end.value.code or 0


def write(folder: Path, seed: int = 0, miou: float = 50.0, **protocol: object) -> Path:
    file = folder / "evaluate/metrics.json"
    file.parent.mkdir(parents=True)
    row = {"coverage": 100.0, "miou_interval": [miou - 1, miou + 1]}
    content = {
        "miou": {"network_val": miou},
        "products": {"network_val": row},
        "seed": seed,
        "protocol": {"mask_source": "SegmentationClassAug", **protocol},
    }
    file.write_text(json.dumps(content))
    return folder


def test_compare__exit_status_says_whether_the_numbers_compare(tmp_path, monkeypatch, capsys):
    first, second = write(tmp_path / "a"), write(tmp_path / "b", miou=51.0, threshold=0.3)
    other = write(tmp_path / "c", mask_source="SegmentationClass")
    assert rca(monkeypatch, "compare", first, second) == 0
    assert "Comparable: " in capsys.readouterr().out
    assert rca(monkeypatch, "compare", first, other / "evaluate/metrics.json") == 1
    assert "Not comparable: none" in capsys.readouterr().out


def test_compare__commas_join_the_seeds_of_a_method(tmp_path, monkeypatch, capsys):
    seeds = [write(tmp_path / f"s{seed}", seed, 50.0 + 2 * seed) for seed in range(2)]
    assert rca(monkeypatch, "compare", ",".join(map(str, seeds)), write(tmp_path / "b")) == 0
    assert "51.00 ± 1.41 (2 seeds)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file"), ("{", "not valid JSON"), ("{}", "not a metrics.json")],
)
def test_compare__a_file_that_cannot_be_used_is_status_2(
    tmp_path, monkeypatch, capsys, content, message
):
    other = tmp_path / "metrics.json"
    if content:
        other.write_text(content)
    assert rca(monkeypatch, "compare", write(tmp_path / "a"), other) == 2
    assert message in capsys.readouterr().err


def test_compare__needs_two(tmp_path, monkeypatch, capsys):
    assert rca(monkeypatch, "compare", write(tmp_path / "a")) == 2
    assert "at least two results" in capsys.readouterr().err


def test_submit__packs_the_images_of_the_list(tmp_path, monkeypatch, capsys):
    (tmp_path / "test.txt").write_text("2008_000006\n")
    write_label_map(tmp_path / "2008_000006.png", np.ones((2, 3), np.uint8), voc_palette())
    Image.new("RGB", (3, 2)).save(tmp_path / "2008_000006.jpg")
    options = ["--predictions", tmp_path, "--photographs", tmp_path, "--out", tmp_path / "s.tgz"]
    assert rca(monkeypatch, "submit", *options, "--images", tmp_path / "test.txt") == 0
    said = capsys.readouterr().out
    assert "1 masks, checked and packed for comp6_test_cls" in said and "has 1456 images" in said
    assert rca(monkeypatch, "submit", *options, "--images", tmp_path / "no.txt") == 2
