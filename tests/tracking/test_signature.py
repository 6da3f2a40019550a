"""A report with the name of its run."""

from __future__ import annotations

import os
from pathlib import Path

from rca.tracking.signature import PLACE, SCORES, of_the_run, scored_at, signed

TAGS = {
    "git.commit": "c0ffee",
    "git.clean": "false",
    "data.md5": "d1.dir",
    "train_cam.processor": "EPYC",
    "train_cam.cores": "16",
    "train_cam.torch": "2.14.1",
    "train_cam.gpus": "H100",
    "train_seg/pseudo.processor": "EPYC",
    "train_seg/pseudo.cores": "2",
    "train_seg/pseudo.torch": "2.14.1",
}


def scored(folder: Path) -> Path:
    (folder / SCORES).parent.mkdir()
    (folder / SCORES).write_text("{}")
    os.utime(folder / SCORES, (1_700_000_000, 1_700_000_000))
    return folder


def test_of_the_run__names_commit_date_data_and_machines(tmp_path):
    assert of_the_run(TAGS, scored_at(scored(tmp_path))) == [
        ("Commit", "c0ffee, with local edits"),
        ("Scored", "2023-11-14 22:13 UTC"),
        ("Data set, as DVC digests it", "MD5 d1.dir"),
        ("Classification network trained on", "H100, 16 cores, torch 2.14.1"),
        ("Segmentation network trained on", "EPYC, 2 cores, torch 2.14.1"),
    ]


def test_of_the_run__leaves_out_what_nobody_knows(tmp_path):
    assert [term for term, _ in of_the_run({}, scored_at(scored(tmp_path)))] == ["Scored"]


def test_signed__puts_the_terms_into_their_place_escaped():
    page = f"<dl>{PLACE}<div>old</div></dl>"
    assert signed(page, [("Commit", "<c>")]) == (
        "<dl><div><dt>Commit</dt><dd>&lt;c&gt;</dd></div><div>old</div></dl>"
    )
    assert signed("<html>", [("Commit", "c")]) == "<html>"
