"""`rca data doctor` through its command: every fault is found, by its own check, and said."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from rca import cli
from rca.checks.findings import CHECKS
from rca.config import IndexSection
from rca.presentation import doctor_page as diagnosis


def doctor(root: Path, *options: str) -> tuple[int, dict[str, list[dict]], str]:
    """Exit status, check → findings, and what was printed."""
    out = root.parent / "doctor"
    run = CliRunner().invoke(cli.app, ["data", "doctor", str(root), "--out", str(out), *options])
    assert (out / "doctor.json").is_file(), run.output
    found: dict[str, list[dict]] = {}
    for finding in json.loads((out / "doctor.json").read_text())["findings"]:
        found.setdefault(finding["check"], []).append(finding)
    return run.exit_code, found, run.stdout


def counts(text: str) -> dict[str, list[str]]:
    """Row of the table of counts → its cells."""
    _, table, *_ = text.split("\n\n")
    return {line.split()[0]: line.split()[1:] for line in table.splitlines()}


def photograph(voc, image: str) -> Path:
    return voc.root / "JPEGImages" / f"{image}.jpg"


def mask(voc, image: str) -> Path:
    return voc.root / "SegmentationClassAug" / f"{image}.png"


def leak_by_name(voc):
    voc.lists["val"].append("2008_01")
    voc.write_saliency("2009_01", (12, 8))
    voc.write_saliency("2009_02", (12, 8))


def leak_by_bytes(voc):
    shutil.copy(photograph(voc, "2008_01"), photograph(voc, "2009_01"))


def leak_by_pixels(voc):
    with Image.open(photograph(voc, "2008_01")) as image:
        image.save(photograph(voc, "2009_01"), format="PNG")


def leak_by_looks(voc):
    values = np.random.default_rng(0).integers(0, 200, (8, 12, 3), np.uint8)
    for image, pixels in (("2008_01", values), ("2009_01", values[:, ::-1] + 1)):
        Image.fromarray(pixels).save(photograph(voc, image), format="PNG")


def copy_in_a_split(voc):
    shutil.copy(photograph(voc, "2009_02"), photograph(voc, "2009_01"))


def undecodable(voc):
    photograph(voc, "2008_01").write_bytes(b"no image")


def in_cmyk(voc):
    Image.new("CMYK", (12, 8), (9, 99, 0, 5)).save(photograph(voc, "2008_01"))


def in_grey(voc):
    Image.new("L", (12, 8), 77).save(photograph(voc, "2008_01"))


def turned_by_exif(voc):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (12, 8), (1, 2, 3)).save(photograph(voc, "2008_01"), exif=exif)


def transparent(voc):
    Image.new("RGBA", (12, 8), (1, 2, 3, 4)).save(photograph(voc, "2008_01"), format="PNG")


def mask_in_colours(voc):
    with Image.open(mask(voc, "2008_01")) as image:
        image.convert("RGB").save(mask(voc, "2008_01"))


def mask_recoloured(voc):
    with Image.open(mask(voc, "2008_01")) as image:
        values, palette = np.array(image), image.getpalette()
    again = Image.fromarray(values)
    again.putpalette([*palette[3:], 0, 0, 0])
    again.save(mask(voc, "2008_01"))


def mask_of_other_size(voc):
    voc.write_mask("2008_01", np.full((9, 12), 8, np.uint8))


def mask_with_unknown_value(voc):
    voc.write_mask("2008_01", np.resize(np.array([0, 8, 99], np.uint8), (8, 12)))


def mask_undecodable(voc):
    mask(voc, "2008_01").write_bytes(b"\x89PNG\r\n\x1a\n")


def mask_missing(voc):
    mask(voc, "2008_01").unlink()


def saliency_in_colours(voc):
    Image.new("RGB", (12, 8)).save(voc.root / "saliency" / "2008_01.png")


def tag_without_pixels(voc):
    voc.tags["2008_01"] = "cat boat"


def pixels_without_tag(voc):
    voc.write_mask("2008_01", np.resize(np.array([0, 8, 12], np.uint8), (8, 12)))


def without_tags(voc):
    voc.tags["2008_01"] = ""
    voc.write_mask("2008_01", np.zeros((8, 12), np.uint8))


def unknown_tag(voc):
    voc.tags["2008_01"] = "cat zebra"


def no_row(voc):
    del voc.tags["2008_01"]


def unlisted(voc):
    voc.write_image("2010_01", (12, 8))


def repeated(voc):
    voc.lists["train"].append("2008_01")


@pytest.mark.parametrize(
    ("spoil", "check", "file", "what"),
    [
        (leak_by_name, "leak_name", "ImageSets/Segmentation/val.txt", "2008_01"),
        (leak_by_bytes, "leak_bytes", "JPEGImages/2009_01.jpg", "is a copy of JPEGImages/2008_01"),
        (leak_by_pixels, "leak_pixels", "JPEGImages/2009_01.jpg", "has the pixels of"),
        (leak_by_looks, "leak_looks", "JPEGImages/2009_01.jpg", "looks like the mirror image of"),
        (copy_in_a_split, "copy", "JPEGImages/2009_02.jpg", "is a copy of JPEGImages/2009_01"),
        (undecodable, "image", "JPEGImages/2008_01.jpg", "cannot be decoded"),
        (in_cmyk, "cmyk", "JPEGImages/2008_01.jpg", "CMYK"),
        (in_grey, "grey", "JPEGImages/2008_01.jpg", "grey"),
        (turned_by_exif, "exif", "JPEGImages/2008_01.jpg", "turned"),
        (transparent, "alpha", "JPEGImages/2008_01.jpg", "transparency"),
        (mask_in_colours, "mask_mode", "SegmentationClassAug/2008_01.png", "this is RGB"),
        (mask_recoloured, "mask_palette", "SegmentationClassAug/2008_01.png", "[0, 8, 255]"),
        (mask_of_other_size, "mask_size", "SegmentationClassAug/2008_01.png", "12 × 9"),
        (mask_with_unknown_value, "mask_value", "SegmentationClassAug/2008_01.png", "[99]"),
        (mask_undecodable, "mask", "SegmentationClassAug/2008_01.png", "cannot be decoded"),
        (mask_missing, "mask_gap", "JPEGImages/2008_01.jpg", "has no mask"),
        (saliency_in_colours, "saliency", "saliency/2008_01.png", "this is RGB"),
        (tag_without_pixels, "tag_without_pixels", "SegmentationClassAug/2008_01.png", "'boat'"),
        (pixels_without_tag, "pixels_without_tag", "SegmentationClassAug/2008_01.png", "'dog'"),
        (without_tags, "untagged", "JPEGImages/2008_01.jpg", "has no tags"),
        (unknown_tag, "tag_unknown", "tags.csv", "'zebra'"),
        (no_row, "tags_missing", "tags.csv", "2008_01"),
        (unlisted, "unlisted", "JPEGImages/2010_01.jpg", "named by no list"),
        (repeated, "list", "ImageSets/Segmentation/train.txt", "twice"),
    ],
)
def test_doctor__finds_one_fault_and_nothing_else(tiny_voc, spoil, check, file, what):
    spoil(tiny_voc)
    tiny_voc.write_texts()

    status, found, text = doctor(tiny_voc.root)

    (finding,) = found.pop(check)
    assert not found
    assert finding["file"] == file and what in finding["what"]
    assert finding["severity"] == CHECKS[check].severity and finding["fix"]
    assert status == (1 if CHECKS[check].severity == "error" else 0)
    assert f"{finding['severity'].upper()}  {CHECKS[check].title}: 1" in text
    assert f"{file}: {finding['what']}" in text


def test_doctor__a_clean_set(tiny_voc):
    status, found, text = doctor(tiny_voc.root)

    assert (status, found) == (0, {})
    assert "0 errors, 0 warnings: fit for `rca index`" in text
    rows = counts(text)
    assert rows["images"] == ["2", "2"]
    # cat: 32 of the 96 pixels of 2008_01; 2008_02 has 140. cow, cat: 24 of 96; sofa: 32 of 96.
    assert rows["cat"] == ["1", f"{100 * 32 / 236:.2f}", "%", "1", f"{100 * 24 / 192:.2f}", "%"]
    assert rows["sofa"] == ["0", "0.00", "%", "1", f"{100 * 32 / 192:.2f}", "%"]


@pytest.mark.parametrize("gone", ["classes.txt", "tags.csv", "ImageSets/Segmentation/val.txt"])
def test_doctor__goes_on_without_a_file_and_says_what_it_could_not_look_for(tiny_voc, gone):
    in_cmyk(tiny_voc)
    (tiny_voc.root / gone).unlink()

    status, found, text = doctor(tiny_voc.root)

    assert status == 1
    assert [finding["file"] for finding in found["layout"]] == [gone]
    assert len(found["cmyk"]) == 1
    checks = json.loads((tiny_voc.root.parent / "doctor/doctor.json").read_text())["checks"]
    assert (checks["tag_without_pixels"]["findings"] is None) == (not gone.startswith("Image"))
    assert ("Not checked" in text) == (not gone.startswith("Image"))


class References(HTMLParser):
    """What a page refers to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.pictures: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found += [value for name, value in attributes if name in ("src", "href")]
        self.pictures += [value for name, value in attributes if name == "alt"]


def test_doctor__page_needs_no_other_file_and_shows_leaks_side_by_side(tiny_voc):
    leak_by_bytes(tiny_voc)
    tiny_voc.tags["2008_02"] = "dog person <b>"
    tiny_voc.write_texts()
    doctor(tiny_voc.root)

    text = (tiny_voc.root.parent / "doctor/doctor.html").read_text()
    page = References(text)
    assert all(link.startswith(("#", "data:image/webp;base64,")) for link in page.found)
    assert page.pictures[:4] == [
        f"{title}, {image}" for image in ("2009_01", "2008_01") for title in ("Photograph", "Mask")
    ]
    assert "<b>' which" not in text and "&lt;b&gt;" in text


def test_doctor__page_lists_the_chosen_classes_and_shows_code_as_such(tiny_voc, monkeypatch):
    monkeypatch.chdir(tiny_voc.root.parent)
    tiny_voc.tags["2008_02"] = ""
    tiny_voc.write_texts()
    cfg = IndexSection(classes=["dog", "person"])
    diagnosis.run(cfg, data=tiny_voc.root, out=tiny_voc.root.parent / "chosen", processes=1)
    text = (tiny_voc.root.parent / "chosen/doctor.html").read_text()
    table = text[text.index('id="counts"') : text.index('id="examples"')]
    assert [name for name in ("cat", "dog", "person", "sofa") if f"</i>{name}</span>" in table] == [
        "dog",
        "person",
    ]
    assert "18 classes of the data set are not among <code>index.classes</code>" in text
    body = text[text.index("<body>") :]
    assert "`" not in body and "<code>" in body


def test_doctor__leaves_what_else_is_in_the_folder(tiny_voc):
    mine = tiny_voc.root.parent / "doctor/mine.txt"
    mine.parent.mkdir()
    mine.write_text("kept")
    doctor(tiny_voc.root)
    assert mine.read_text() == "kept"


def test_doctor__without_a_folder_takes_that_of_params(tiny_voc, tmp_path, monkeypatch):
    root = Path(__file__).parents[2]
    monkeypatch.chdir(tmp_path)
    text = (root / "configs/debug.yaml").read_text().replace("voc12_animals_sample\n", "tiny\n")
    Path("params.yaml").write_text(text.replace("val_list: val", "val_list: val_small"))
    tiny_voc.lists["val_small"] = ["2009_01"]
    tiny_voc.write_texts()
    shutil.copytree(tiny_voc.root, "data/tiny")

    run = CliRunner().invoke(cli.app, ["data", "doctor"])

    assert run.exit_code == 0
    assert run.stdout.startswith("data/tiny\n")
    assert counts(run.stdout)["images"] == ["2", "1"]


def test_doctor__no_such_folder_is_no_diagnosis(tmp_path):
    run = subprocess.run(
        [Path(sys.executable).with_name("rca"), "data", "doctor", tmp_path / "none"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 2
    assert "no such folder" in run.stderr and "Traceback" not in run.stderr


def test_page__escapes_names_of_photographs_and_tags(tiny_voc):
    hostile = "<img/src=x/onerror=alert(1)>"
    tiny_voc.add("val", "<script>alert(1)<script>", "cat")
    tiny_voc.tags["<script>alert(1)<script>"] = f"cat {hostile}"
    tiny_voc.write_texts()

    _, found, _ = doctor(tiny_voc.root)
    page = (tiny_voc.root.parent / "doctor/doctor.html").read_text()

    assert "tag_unknown" in found
    assert hostile not in page and "<script>alert" not in page
    assert "&lt;img/src=x/onerror" in page and "&lt;script&gt;alert" in page
