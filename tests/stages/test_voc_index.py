"""The VOC-like folder: what is read from it, and every fault that is found in it."""

from __future__ import annotations

import hashlib
import logging
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rca.config import ArchiveSource, IndexSection
from rca.data.images import DataError
from rca.data.index import Index, read_index
from rca.data.voc_folder import label_palette, label_values, read_voc
from rca.stages import download, index

REPOSITORY = Path(__file__).parents[2]
EMBEDDED = REPOSITORY / "data" / "embedded"
SUBSET = IndexSection(classes=["person", "cat", "dog"])


def indexed(root: Path, cfg: IndexSection = SUBSET) -> Index:
    out = root.parent / "index"
    index.run(cfg, data=root, out=out)
    return read_index(out)


def faults_of(root: Path, cfg: IndexSection = SUBSET) -> list[str]:
    with pytest.raises(DataError) as caught:
        index.run(cfg, data=root, out=root.parent / "index")
    assert not (root.parent / "index").exists()
    first, *lines = str(caught.value).split("\n")
    assert first.startswith(str(root))
    return lines


def test_run__tiny_folder(tiny_voc):
    found = indexed(tiny_voc.root)
    assert found.classes == ("person", "cat", "dog")
    assert found.root == tiny_voc.root
    names = [(record.split, record.image, record.tags) for record in found.records]
    assert names == [
        ("train", "2008_01", ("cat",)),
        ("train", "2008_02", ("person", "dog")),
        ("val", "2009_01", ("cat",)),
        ("val", "2009_02", ()),
    ]
    _, tall, first_val, _ = found.records
    assert (tall.width, tall.height) == (10, 14)
    assert tall.file == tiny_voc.root / "JPEGImages" / "2008_02.jpg"
    assert tall.mask == tiny_voc.root / "SegmentationClassAug" / "2008_02.png"
    assert tall.saliency == tiny_voc.root / "saliency" / "2008_02.png"
    assert first_val.saliency is None


def test_run__truth_has_labels_of_the_chosen_classes(tiny_voc):
    found = indexed(tiny_voc.root)
    stored = np.array(Image.open(tiny_voc.root / "SegmentationClassAug" / "2009_01.png"))
    assert set(np.unique(stored)) == {0, 8, 10, 255}  # cat is 8, cow is 10
    expected = np.select([stored == 0, stored == 8], [0, 2], 255)
    assert found.truth(found.split("val")[0]).tolist() == expected.tolist()


def test_run__no_subset(tiny_voc):
    found = indexed(tiny_voc.root, IndexSection())
    assert len(found.classes) == 20
    assert found.classes[0] == "aeroplane" and found.classes[19] == "tvmonitor"
    assert found.mask_values.tolist() == [*range(21), *[255] * 235]
    assert found.records[-1].tags == ("sofa",)


def test_run__same_folder_same_bytes(tiny_voc):
    contents = []
    for name in ("one", "two"):
        out = tiny_voc.root.parent / name
        index.run(SUBSET, data=tiny_voc.root, out=out)
        contents.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert set(contents[0]) == {"index.csv", "dataset.json", "SHA256SUMS"}
    assert contents[0] == contents[1]


@pytest.mark.parametrize("folder", ["JPEGImages", "SegmentationClassAug", "saliency"])
def test_run__sums_tell_of_every_byte_of_the_files(tiny_voc, folder):
    indexed(tiny_voc.root)
    out = tiny_voc.root.parent / "index"
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    lines = before["SHA256SUMS"].decode().splitlines()
    assert len(lines) == 4 + 4 + 2  # photographs, masks, saliency maps
    digest, path = lines[0].split("  ")
    assert hashlib.sha256((tiny_voc.root / path).read_bytes()).hexdigest() == digest

    file = next((tiny_voc.root / folder).glob("2008_02.*"))
    file.write_bytes(file.read_bytes() + b"\0")  # decodes as before
    indexed(tiny_voc.root)
    changed = [path.name for path in out.iterdir() if path.read_bytes() != before[path.name]]
    assert changed == ["SHA256SUMS"]


def test_run__other_lists(tiny_voc):
    tiny_voc.lists["train_small"] = ["2008_01"]
    tiny_voc.write_texts()
    found = indexed(tiny_voc.root, IndexSection(classes=["cat"], train_list="train_small"))
    assert [record.image for record in found.split("train")] == ["2008_01"]


def test_run__limit_takes_the_first_of_each_list(tiny_voc):
    missing_image(tiny_voc)  # the second of its list, so that it is not looked at
    found = indexed(tiny_voc.root, IndexSection(classes=["dog", "cat"], limit=1))
    assert [record.image for record in found.records] == ["2008_02", "2009_01"]


def test_run__untagged_images(tiny_voc, caplog):
    tiny_voc.add("train", "2008_03", "sofa")
    tiny_voc.add("train", "2008_04", "")
    with caplog.at_level(logging.INFO):
        found = indexed(tiny_voc.root)
    assert [record.image for record in found.split("train")] == ["2008_01", "2008_02"]
    assert [record.image for record in found.split("val")] == ["2009_01", "2009_02"]
    assert "2 of 4 training images hold none of the classes" in caplog.text


def test_run__no_training_image_is_left(tiny_voc):
    with pytest.raises(DataError, match=r"no training image has a tag of index\.classes"):
        indexed(tiny_voc.root, IndexSection(classes=["boat"]))


def test_run__logs_counts(tiny_voc, caplog):
    with caplog.at_level(logging.INFO):
        indexed(tiny_voc.root)
    table = [line.split() for line in caplog.messages[-1].splitlines()[1:]]
    assert table == [
        ["train", "val"],
        ["images", "2", "2"],
        ["person", "1", "0"],
        ["cat", "1", "1"],
        ["dog", "1", "0"],
    ]


def test_run__no_masks_and_no_saliency(tiny_voc):
    shutil.rmtree(tiny_voc.root / "SegmentationClassAug")
    shutil.rmtree(tiny_voc.root / "saliency")
    found = indexed(tiny_voc.root)
    assert all(record.mask is None and record.saliency is None for record in found.records)
    with pytest.raises(DataError, match="has no mask"):
        found.truth(found.records[0])


def test_run__masks_of_one_split_only(tiny_voc):
    for image in tiny_voc.lists["train"]:
        (tiny_voc.root / "SegmentationClassAug" / f"{image}.png").unlink()
    found = indexed(tiny_voc.root)
    assert [record.mask is None for record in found.records] == [True, True, False, False]


def missing_image(voc):
    (voc.root / "JPEGImages" / "2008_01.jpg").unlink()


def undecodable_image(voc):
    (voc.root / "JPEGImages" / "2008_01.jpg").write_bytes(b"no image")


def truncated_image(voc):
    path = voc.root / "JPEGImages" / "2008_01.jpg"
    path.write_bytes(path.read_bytes()[:-60])


def unknown_tag(voc):
    voc.tags["2009_02"] = "sofa zebra"


def no_row_of_tags(voc):
    del voc.tags["2009_02"]


def mask_of_other_size(voc):
    voc.write_mask("2008_01", np.zeros((9, 12), np.uint8))


def mask_with_unknown_values(voc):
    values = np.zeros((8, 12), np.uint8)
    values[0, :4] = 20, 21, 254, 255
    voc.write_mask("2008_01", values)


def mask_in_colours(voc):
    path = voc.root / "SegmentationClassAug" / "2008_01.png"
    Image.open(path).convert("RGB").save(path)


def undecodable_mask(voc):
    (voc.root / "SegmentationClassAug" / "2008_01.png").write_bytes(b"\x89PNG\r\n\x1a\n")


def one_mask_missing(voc):
    (voc.root / "SegmentationClassAug" / "2008_01.png").unlink()


def saliency_of_other_size(voc):
    voc.write_saliency("2008_01", (12, 9))


def one_saliency_map_missing(voc):
    (voc.root / "saliency" / "2008_01.png").unlink()


def same_name_in_two_splits(voc):
    voc.lists["val"].append("2008_01")
    shutil.rmtree(voc.root / "saliency")  # else the split `val` would have a single map


def same_content_in_two_splits(voc):
    images = voc.root / "JPEGImages"
    shutil.copy(images / "2008_01.jpg", images / "2009_01.jpg")


def empty_list(voc):
    voc.lists["val"] = []


def repeated_entry(voc):
    voc.lists["train"].append("2008_01")


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (missing_image, r"JPEGImages/2008_01\.jpg: no such image"),
        (undecodable_image, r"JPEGImages/2008_01\.jpg: cannot be decoded"),
        (truncated_image, r"JPEGImages/2008_01\.jpg: cannot be decoded"),
        (unknown_tag, r"tags\.csv: 2009_02 has the tag 'zebra', which is no class"),
        (no_row_of_tags, r"tags\.csv: has no row for 2009_02"),
        (mask_of_other_size, r"ClassAug/2008_01\.png: is 12 × 9, its image 12 × 8"),
        (mask_with_unknown_values, r"ClassAug/2008_01\.png: holds \[21, 254\]; known are 0 to 20"),
        (mask_in_colours, r"ClassAug/2008_01\.png: a mask must be .* this is RGB"),
        (undecodable_mask, r"ClassAug/2008_01\.png: cannot be decoded"),
        (one_mask_missing, r"JPEGImages/2008_01\.jpg: has no mask, others in train have one"),
        (saliency_of_other_size, r"saliency/2008_01\.png: is 12 × 9, its image 12 × 8"),
        (one_saliency_map_missing, r"2008_01\.jpg: has no saliency map, others in train have one"),
        (same_name_in_two_splits, r"val\.txt: names 2008_01 for val, .*train\.txt for train"),
        (
            same_content_in_two_splits,
            r"2009_01\.jpg: is a copy of .*2008_01\.jpg, which is in train",
        ),
        (empty_list, r"val\.txt: is empty"),
        (repeated_entry, r"train\.txt: names 2008_01 twice"),
    ],
)
def test_run__one_fault(tiny_voc, spoil, line):
    spoil(tiny_voc)
    tiny_voc.write_texts()
    (only,) = faults_of(tiny_voc.root)
    assert re.search(line, only), only


def test_run__class_that_does_not_exist(tiny_voc):
    first, second = faults_of(tiny_voc.root, IndexSection(classes=["cat", "unicorn", "cat"]))
    assert "index.classes: 'unicorn' is no class of" in first and "aeroplane" in first
    assert "'cat' is named twice" in second


def test_run__all_faults_at_once(tiny_voc):
    for spoil in (missing_image, unknown_tag, repeated_entry):
        spoil(tiny_voc)
    tiny_voc.write_texts()
    lines = faults_of(tiny_voc.root, IndexSection(classes=["unicorn"]))
    assert len(lines) == 4
    for part in ("unicorn", "2008_01 twice", "zebra", "no such image"):
        assert sum(part in line for line in lines) == 1


def test_run__many_faults_are_counted(tiny_voc):
    tiny_voc.lists["val"] += [f"gone_{number:02}" for number in range(30)]
    tiny_voc.tags |= dict.fromkeys(tiny_voc.lists["val"], "cat")
    tiny_voc.write_texts()
    shutil.rmtree(tiny_voc.root / "SegmentationClassAug")
    lines = faults_of(tiny_voc.root)
    assert len(lines) == 22
    assert lines[-2].startswith("  … and 10 more;")
    assert lines[-1].startswith("  in all: ") and lines[-1].endswith(" (30)")


@pytest.mark.parametrize(
    "gone", ["classes.txt", "tags.csv", "ImageSets/Segmentation/val.txt"], ids=lambda path: path
)
def test_run__file_of_the_folder_is_missing(tiny_voc, gone):
    (tiny_voc.root / gone).unlink()
    with pytest.raises(DataError, match=rf"{gone}: no such file; .*rca download"):
        indexed(tiny_voc.root)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,tags\na,cat\na,dog\n", "line 3 names a a second time"),
        ("name,tags\na,cat\n", "line 2 lacks the column `image`"),
        ("image,split\na,train\n", "line 2 lacks the column `image` or `tags`"),
    ],
)
def test_read_voc__bad_tags(tiny_voc, text, message):
    (tiny_voc.root / "tags.csv").write_text(text)
    with pytest.raises(DataError, match=f"tags.csv: {message}"):
        read_voc(tiny_voc.root)


def test_read_voc__bad_classes(tiny_voc):
    for text in ("", "cat\ndog\ncat\n"):
        (tiny_voc.root / "classes.txt").write_text(text)
        with pytest.raises(DataError, match=r"classes\.txt: must name each class once"):
            read_voc(tiny_voc.root)


def test_label_values__subset_in_its_own_order():
    expected = [255] * 256
    expected[0], expected[3], expected[1] = 0, 1, 2
    assert label_values(["a", "b", "c"], ["c", "a"]).tolist() == expected


def test_label_palette__colours_of_the_chosen_classes():
    palette = label_palette(["aeroplane", "bicycle", "bird"], ["bird", "aeroplane"])
    assert palette[:3].tolist() == [[0, 0, 0], [128, 128, 0], [128, 0, 0]]
    assert not palette[3:255].any()
    assert palette[255].tolist() == [224, 224, 192]


def readme_counts() -> dict[str, tuple[int, int]]:
    rows = re.findall(
        r"^\| (\w+) \| (\d+) \| (\d+) \|$", (EMBEDDED / "README.md").read_text(), re.M
    )
    return {name: (int(train), int(val)) for name, train, val in rows}


def test_run__embedded_sample(tmp_path):
    digests = dict(line.split()[::-1] for line in (EMBEDDED / "SHA256SUMS").open())
    archive = EMBEDDED / "voc12_animals_sample.tar"
    cfg = ArchiveSource(
        source="archive", name="sample", archive=archive, sha256=digests[archive.name]
    )
    download.run(cfg, out=tmp_path / "sample")
    classes = ["cat", "cow", "dog", "horse", "sheep", "person"]
    found = indexed(tmp_path / "sample", IndexSection(classes=classes))

    train, val = found.split("train"), found.split("val")
    expected = readme_counts()
    assert (len(train), len(val)) == expected["images"] == (200, 80)
    for name in classes:
        counts = tuple(sum(name in record.tags for record in split) for split in (train, val))
        assert counts == expected[name]
    assert all(record.mask for record in found.records)
    assert all(record.saliency for record in train)
    assert all(max(record.width, record.height) <= 320 for record in found.records)


def test_embedded_readme__digests_are_those_of_the_files():
    readme = (EMBEDDED / "README.md").read_text()
    for line in (EMBEDDED / "SHA256SUMS").open():
        digest, name = line.split()
        assert re.search(rf"`{name}` \| {(EMBEDDED / name).stat().st_size} \| `{digest}`", readme)
