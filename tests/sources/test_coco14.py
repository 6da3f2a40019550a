"""Source `coco14`: a tiny COCO, unpacked or in archives on a server, through the real commands."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from loopback import loopback
from PIL import Image

from rca.config import Coco14Source, IndexSection
from rca.data.images import DataError
from rca.data.index import read_index
from rca.sources import coco14, remote_files
from rca.sources.coco_masks import Instance, Sheet, rasterise
from rca.stages import download, index

CATEGORIES = [(1, "person"), (3, "traffic light"), (2, "cat")]  # COCO's ids have gaps, no order
SIZE = (6, 4)
# image → (category, is crowd, left, top, right, bottom)
TRAIN = {
    1: [(1, 0, 0, 0, 4, 4), (2, 0, 1, 1, 3, 3)],
    2: [(1, 1, 0, 0, 6, 2), (3, 0, 0, 0, 1, 1)],
    3: [],
}
VAL = {4: [(3, 0, 2, 0, 6, 4)], 5: []}
SPLITS = {"train": TRAIN, "val": VAL}


def name(split: str, number: int) -> str:
    return f"COCO_{split}2014_{number:012d}"


def outline(crowd: int, left: int, top: int, right: int, bottom: int) -> object:
    if not crowd:
        return [[left, top, right, top, right, bottom, left, bottom]]
    mask = np.zeros(SIZE[::-1], np.uint8)
    mask[top:bottom, left:right] = 1
    flat = mask.T.ravel()  # COCO's run lengths go down the columns and start with zeros
    edges = [0, *(np.flatnonzero(np.diff(flat)) + 1), len(flat)]
    counts = np.diff(edges).tolist()
    return {"size": list(SIZE[::-1]), "counts": [0, *counts] if flat[0] else counts}


def instances(split: str) -> bytes:
    annotations = [
        {
            "id": 10 * number + place,
            "image_id": number,
            "category_id": category,
            "iscrowd": crowd,
            "area": (box[2] - box[0]) * (box[3] - box[1]),
            "segmentation": outline(crowd, *box),
        }
        for number, entries in SPLITS[split].items()
        for place, (category, crowd, *box) in enumerate(entries)
    ]
    images = [
        {"id": number, "file_name": f"{name(split, number)}.jpg", "width": 6, "height": 4}
        for number in SPLITS[split]
    ]
    categories = [{"id": number, "name": title} for number, title in CATEGORIES]
    content = {"images": images, "annotations": annotations, "categories": categories}
    return json.dumps(content).encode()


def photograph(number: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", SIZE, (40 * number, 9, 9)).save(file, format="JPEG")
    return file.getvalue()


def files() -> dict[str, bytes]:
    """COCO's folder as it unpacks."""
    found = {f"annotations/instances_{split}2014.json": instances(split) for split in SPLITS}
    for split, images in SPLITS.items():
        for number in images:
            found[f"{split}2014/{name(split, number)}.jpg"] = photograph(number)
    return found


@pytest.fixture
def coco(tmp_path) -> Path:
    root = tmp_path / "coco"
    for path, content in files().items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    return root


def bring(tmp_path: Path, have: Path | None) -> Path:
    out = tmp_path / "data" / "coco14"
    download.run(Coco14Source(source="coco14", name="coco14", have=have), out=out)
    return out


def mask(out: Path, split: str, number: int) -> np.ndarray:
    return np.array(Image.open(out / "SegmentationClassAug" / f"{name(split, number)}.png"))


def test_bring__writes_the_layout_of_index(tmp_path, coco):
    out = bring(tmp_path, coco)

    assert (out / "classes.txt").read_text() == "person\ncat\ntraffic_light\n"
    assert (out / "tags.csv").read_text().splitlines() == [
        "image,split,tags",
        f"{name('train', 1)},train,person cat",
        f"{name('train', 2)},train,person traffic_light",
        f"{name('train', 3)},train,",
        f"{name('val', 4)},val,traffic_light",
        f"{name('val', 5)},val,",
    ]
    assert mask(out, "val", 5).tolist() == np.zeros((4, 6)).tolist()


def test_bring__smaller_instances_lie_above_larger_and_crowds_are_255_below_all(tmp_path, coco):
    out = bring(tmp_path, coco)

    assert mask(out, "train", 1).tolist() == [
        [1, 1, 1, 1, 0, 0],
        [1, 2, 2, 1, 0, 0],
        [1, 2, 2, 1, 0, 0],
        [1, 1, 1, 1, 0, 0],
    ]
    assert mask(out, "train", 2).tolist() == [
        [3, 255, 255, 255, 255, 255],
        [255] * 6,
        [0] * 6,
        [0] * 6,
    ]


def test_bring__links_photographs_and_leaves_them_alone(tmp_path, coco):
    before = {path: path.read_bytes() for path in coco.rglob("*.jpg")}
    out = bring(tmp_path, coco)

    for path, content in before.items():
        assert os.path.samefile(path, out / "JPEGImages" / path.name)
        assert path.read_bytes() == content
    bring(tmp_path, coco)  # in place of what was there
    assert all(path.read_bytes() == content for path, content in before.items())


@pytest.mark.parametrize("fails", [("link",), ("link", "symlink")])
def test_bring__where_links_cannot_be_made(tmp_path, coco, monkeypatch, fails):
    def refuse(*_):
        raise OSError("another disk")

    for kind in fails:
        monkeypatch.setattr(os, kind, refuse)
    out = bring(tmp_path, coco)

    copy = out / "JPEGImages" / f"{name('train', 1)}.jpg"
    assert copy.read_bytes() == photograph(1)
    assert copy.is_symlink() == (len(fails) == 1)


def test_bring__fetches_archives_and_says_the_same(tmp_path, coco, monkeypatch):
    unpacked = bring(tmp_path, coco)
    with loopback() as site:
        archives = {}
        for prefix in ("train2014", "val2014", "annotations"):
            packed = io.BytesIO()
            with zipfile.ZipFile(packed, "w") as archive:
                for path, content in files().items():
                    if path.startswith(prefix):
                        archive.writestr(path, content)
            content = packed.getvalue()
            archives[prefix] = remote_files.RemoteFile(
                f"{prefix}.zip",
                len(content),
                hashlib.sha256(content).hexdigest(),
                (site.serve(prefix, content),),
            )
        monkeypatch.setattr(remote_files, "COCO14_ANNOTATIONS", archives["annotations"])
        monkeypatch.setattr(
            coco14, "SPLITS", {"train": archives["train2014"], "val": archives["val2014"]}
        )
        fetched = bring(tmp_path / "again", None)

    def content(root: Path) -> dict[str, bytes]:
        return {
            path.relative_to(root).as_posix(): path.read_bytes()
            for path in root.rglob("*")
            if path.is_file()
        }

    assert content(fetched) == content(unpacked)


def test_bring__a_photograph_is_missing(tmp_path, coco):
    (coco / "val2014" / f"{name('val', 5)}.jpg").unlink()
    with pytest.raises(DataError, match=rf"val2014: lacks 1 of the 2 .*{name('val', 5)}\.jpg"):
        bring(tmp_path, coco)
    assert not (tmp_path / "data" / "coco14").exists()


@pytest.mark.parametrize("text", [b"{", b"[]", b'{"categories": [], "images": [{}]}'])
def test_bring__annotations_that_are_none(tmp_path, coco, text):
    (coco / "annotations/instances_train2014.json").write_bytes(text)
    with pytest.raises(DataError, match=r"instances_train2014\.json: is not COCO's"):
        bring(tmp_path, coco)


def test_rasterise__a_polygon_without_area_and_several_parts():
    parts = [[0, 0, 2, 0, 2, 2, 0, 2], [4, 0, 6, 0, 6, 4, 4, 4], [1, 1, 3, 3]]
    sheet = Sheet("a", 6, 4, (Instance(1, 7, 12.0, False, parts), Instance(2, 8, 1.0, False, [])))
    expected = np.zeros((4, 6))
    expected[0:2, 0:2] = 7
    expected[0:4, 4:6] = 7
    assert rasterise(sheet).tolist() == expected.tolist()


def test_index__of_a_subset_makes_other_classes_255_and_drops_their_tags(tmp_path, coco):
    out = bring(tmp_path, coco)
    index.run(IndexSection(classes=["cat"]), data=out, out=tmp_path / "index")

    found = read_index(tmp_path / "index")
    first, *val = found.records
    assert (first.image, first.tags) == (name("train", 1), ("cat",))
    assert [record.tags for record in val] == [(), ()]
    truth = found.truth(first)
    assert set(np.unique(truth)) == {0, 1, 255}
    assert (truth == 255).sum() == 12 and (truth == 1).sum() == 4
    assert set(np.unique(found.truth(val[0]))) == {0, 255}
