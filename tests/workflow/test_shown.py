"""What goes into Snakemake's report: files that stages write, each with a caption."""

from __future__ import annotations

from pathlib import Path

from workflow.engine.shown import shown

ROOT = Path(__file__).parents[2]
STAGES = [
    {"name": name, "log": f"logs/pets/{name}.log"}
    for name in ("check", "train_cam", "train_seg@pseudo", "train_seg@round_1", "report")
]


def test_shown__has_a_caption_for_every_file():
    files = shown(STAGES)
    assert len(files) == len({one.copy for one in files}) == 8
    assert all((ROOT / one.caption).is_file() for one in files)
    assert all(one.category in ("Pages", "Figures", "Tables") for one in files)


def test_shown__copies_the_files_of_the_experiment_and_of_each_training():
    copies = {one.source.as_posix(): one.copy.as_posix() for one in shown(STAGES)}
    losses = "results/pets/train_seg/round_1/history.csv"
    assert copies[losses] == ".snakemake/shown/pets/train_seg/round_1/history.csv"
    assert "results/pets/track/report.html" in copies
