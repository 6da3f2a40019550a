"""The README's picture of a terminal."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

from tools.terminal_picture import PICTURE, left, svg

ROOT = Path(__file__).parents[1]


def words(picture: str) -> str:
    return " ".join("".join(ET.fromstring(picture).itertext()).split())


def test_left__is_what_was_not_written_over():
    said = "one\r\n\x1b[1mhalf\rtwo\x1b[0m\r\n 10 %\r\n   \r\r\nthree\r\n"
    assert left(said) == "one\ntwo\n 10 %\nthree\n"


def test_svg__says_what_the_terminal_says_but_no_durations():
    picture = svg("✓ crf   3 images (12 s)\n✓ train_cam   loss 1 → 0 (1 h 2 min)\nmIoU (in %)\n")
    assert words(picture).endswith("✓ crf 3 images ✓ train_cam loss 1 → 0 mIoU (in %)")


def test_svg__needs_no_network():
    picture = svg("text")
    assert "@font-face" not in picture and "Fira" not in picture
    assert not re.findall(r"url\((?!#)", picture)


def test_picture__is_of_a_whole_run():
    picture = words(PICTURE.read_text(encoding="utf-8"))
    assert "Segmentation network" in picture and "Report: file:///home/you/rca/results/" in picture
