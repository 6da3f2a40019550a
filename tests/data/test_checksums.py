"""The digests of a data set's files, and which of them still hold."""

from __future__ import annotations

import os

from rca.data.checksums import SUMS, unchanged_sums


def test_unchanged_sums__are_of_files_that_did_not_change_since_the_index_was_written(tmp_path):
    data, folder = tmp_path / "data", tmp_path / "index"
    names = ["kept.jpg", "edited later.jpg", "gone.jpg", "renamed.jpg"]
    for place in (data, folder):
        place.mkdir()
    for name in names[:-1]:
        (data / name).write_bytes(b"photograph")
    lines = [f"{number}{'0' * 63}  {name}\n" for number, name in enumerate(names)]
    (folder / SUMS).write_text("".join(lines))
    written = max((data / name).stat().st_ctime_ns for name in names[:-1]) + 1
    os.utime(folder / SUMS, ns=(written, written))
    other = tmp_path / "other.jpg"
    other.write_bytes(b"other photograph")
    os.utime(other, ns=(0, 0))  # as `cp -p` of an old photograph leaves it

    (data / "edited later.jpg").write_bytes(b"Photograph")
    (data / "gone.jpg").unlink()
    other.rename(data / "renamed.jpg")

    assert unchanged_sums(folder, data) == {data / "kept.jpg": f"0{'0' * 63}"}


def test_unchanged_sums__of_an_index_without_any_or_with_damaged_ones_are_none(tmp_path):
    assert unchanged_sums(tmp_path, tmp_path) == {}
    (tmp_path / SUMS).write_bytes(b"\xff\x00 no digest\nnor here\n")
    assert unchanged_sums(tmp_path, tmp_path) == {}
