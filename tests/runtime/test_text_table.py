"""Tables as plain text."""

from __future__ import annotations

from rca.runtime.text_table import aligned

ROWS = [("", "split", "mIoU in %"), ("CAM seeds", "train", "41.23"), ("Network", "val", "5.50")]


def test_aligned__sets_words_flush_left_and_numbers_flush_right():
    assert aligned(ROWS, left=2).splitlines() == [
        "           split  mIoU in %",
        "CAM seeds  train      41.23",
        "Network    val         5.50",
    ]


def test_aligned__cuts_nothing_however_narrow_the_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("FORCE_COLOR", "1")
    long = "a value of a hundred and more characters, " * 3
    assert aligned([(long, "1.0")]) == f"{long}  1.0"


def test_aligned__takes_no_cell_for_markup_and_ends_no_line_with_spaces():
    rows = [("[bold]x[/bold]", ":cat:", ""), ("y", "", "")]
    assert aligned(rows, left=3, indent=2) == "  [bold]x[/bold]  :cat:\n  y"
