"""`rca download` with VOC 2012 and SBD, from archives of their layout on a loopback server."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import loopback as moods
import numpy as np
import pytest
from loopback import Loopback, loopback
from PIL import Image
from tiny_archives import TinyArchives, packed, sbd_truth, voc_mask

from rca.config import IndexSection, Voc12AugSource
from rca.data.images import DataError, read_mask
from rca.data.index import read_index
from rca.data.palette import voc_palette
from rca.sources import fetch, remote_files
from rca.sources.remote_files import NameList, RemoteFile, list_digest
from rca.sources.voc_formats import image_tags, sbd_mask
from rca.stages import download, index

ARCHIVES = {"VOC12_TRAINVAL": "voc.tar", "VOC12_TEST": "test.tar", "SBD": "sbd.tgz"}
AUGMENTED = ["2008_01", "2008_02", "2009_01", "2010_01"]


@pytest.fixture
def tiny() -> TinyArchives:
    """SBD's lists cut across VOC's, as the real ones do."""
    return TinyArchives(
        objects={
            "2008_01": [("aeroplane", False), ("person", True)],
            "2008_02": [("aeroplane", False)],
            "2008_03": [("aeroplane", False), ("cat", True), ("cat", False)],  # VOC val, SBD train
            "2008_04": [("aeroplane", False)],
            "2009_01": [("dog", False), ("person", True)],  # of SBD alone
            "2010_01": [("person", False), ("dog", False), ("chair", True)],
            "2011_01": [("sofa", False)],  # without any mask
        },
        voc_lists={"train": ["2008_02", "2008_01"], "val": ["2008_03", "2008_04"]},
        sbd_lists={"train": ["2008_01", "2008_03", "2009_01"], "val": ["2008_04", "2010_01"]},
        test_images=["2012_01"],
    )


@pytest.fixture
def site():
    with loopback() as server:
        yield server


def publish(site: Loopback, tiny: TinyArchives, monkeypatch, **first_moods: str) -> None:
    """Serve the archives, each at two mirrors, and enter them into the registry."""
    monkeypatch.setattr(fetch, "BACKOFF", 0.001)
    for key, content in zip(ARCHIVES, (tiny.voc(), tiny.test(), tiny.sbd()), strict=True):
        name = ARCHIVES[key]
        mirrors = (
            site.serve(f"one/{name}", content, first_moods.get(key, moods.NORMAL), moods.NORMAL),
            site.serve(f"two/{name}", content),
        )
        digest = hashlib.sha256(content).hexdigest()
        monkeypatch.setattr(remote_files, key, RemoteFile(name, len(content), digest, mirrors))
    lists = {**tiny.voc_lists, "train_aug": AUGMENTED, "test": tiny.test_images}
    known = {name: NameList(len(names), list_digest(names)) for name, names in lists.items()}
    monkeypatch.setattr(remote_files, "VOC12_LISTS", known)


def source(**changes) -> Voc12AugSource:
    return Voc12AugSource(source="voc12_aug", name="voc12", **changes)


def bring(tmp_path: Path, **changes) -> Path:
    out = tmp_path / "data" / "voc12"
    download.run(source(**changes), out=out)
    return out


def tags_of(out: Path) -> dict[str, str]:
    rows = [line.split(",") for line in (out / "tags.csv").read_text().splitlines()[1:]]
    return {image: tags for image, _, tags in rows}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def listed(out: Path, name: str) -> list[str]:
    return (out / "ImageSets" / "Segmentation" / f"{name}.txt").read_text().split()


def test_run__everything_in_its_place(site, tiny, tmp_path, monkeypatch):
    publish(site, tiny, monkeypatch)
    out = bring(tmp_path)

    assert listed(out, "train") == ["2008_01", "2008_02"]
    assert listed(out, "val") == ["2008_03", "2008_04"]
    assert listed(out, "trainval") == ["2008_01", "2008_02", "2008_03", "2008_04"]
    assert listed(out, "train_aug") == AUGMENTED
    images = sorted(set(tiny.objects) - {"2011_01"})
    assert names(out / "JPEGImages") == [f"{image}.jpg" for image in images]
    assert names(out / "SegmentationClassAug") == [f"{image}.png" for image in images]
    assert (out / "classes.txt").read_text().split()[11] == "dog"  # SBD's masks say 12
    note = json.loads((out / "source.json").read_text())
    archives = {file.name: file.sha256 for file in (remote_files.VOC12_TRAINVAL, remote_files.SBD)}
    assert note == {
        "source": "voc12_aug",
        "archives": archives,
        "tags": "all",
        "tags_sha256": None,
        "saliency_sha256": None,
    }
    assert names(tmp_path / "data") == ["archives", "voc12"]
    assert names(tmp_path / "data" / "archives") == ["sbd.tgz", "voc.tar"]


def test_run__masks_are_vocs_where_it_has_some(site, tiny, tmp_path, monkeypatch):
    publish(site, tiny, monkeypatch)
    masks = bring(tmp_path) / "SegmentationClassAug"

    for image in ("2008_01", "2008_02", "2008_03", "2008_04"):
        assert (masks / f"{image}.png").read_bytes() == voc_mask()
    for image in ("2009_01", "2010_01"):
        assert np.unique(read_mask(masks / f"{image}.png")).tolist() == [0, 12]
        stored = Image.open(masks / f"{image}.png")
        assert stored.mode == "P" and stored.size == (12, 8)
        assert stored.getpalette() == voc_palette().ravel().tolist()


@pytest.mark.parametrize(
    ("choice", "first", "last"),
    [
        ("all", "aeroplane person", "chair dog person"),
        ("without_difficult", "aeroplane", "dog person"),
    ],
)
def test_run__tags_with_and_without_difficult(
    site, tiny, tmp_path, monkeypatch, choice, first, last
):
    publish(site, tiny, monkeypatch)
    out = bring(tmp_path, tags=choice)

    tags = tags_of(out)
    assert (tags["2008_01"], tags["2010_01"], tags["2008_03"]) == (first, last, "aeroplane cat")
    assert json.loads((out / "source.json").read_text())["tags"] == choice


def test_run__tags_of_a_list(site, tiny, tmp_path, monkeypatch):
    publish(site, tiny, monkeypatch)
    rows = ["image,tags", *(f"{image},cow" for image in AUGMENTED)]
    path = tmp_path / "tags.csv"
    path.write_text("\n".join(rows))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    out = bring(tmp_path, tags="list", tags_list=path, tags_sha256=digest)

    tags = tags_of(out)
    assert [tags[image] for image in AUGMENTED] == ["cow"] * 4
    assert tags["2008_03"] == "aeroplane cat", "the list is silent: from the annotation"
    assert json.loads((out / "source.json").read_text())["tags_sha256"] == digest

    path.write_text("\n".join(rows[:-1]))
    with pytest.raises(DataError, match=f"its SHA-256 is .*, not {digest}"):
        bring(tmp_path, tags="list", tags_list=path, tags_sha256=digest)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(DataError, match="no row for 1 images, such as 2010_01"):
        bring(tmp_path, tags="list", tags_list=path, tags_sha256=digest)
    assert [tags_of(out)[image] for image in AUGMENTED] == ["cow"] * 4, "the first is still there"


def test_run__saliency_maps_of_an_archive(site, tiny, tmp_path, monkeypatch):
    publish(site, tiny, monkeypatch)
    maps = {f"./maps/{image}.png": image.encode() for image in [*AUGMENTED, "2008_03"]}
    path = tmp_path / "saliency.tar"
    path.write_bytes(packed(maps))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    out = bring(tmp_path, saliency=path, saliency_sha256=digest)

    found = {file.stem: file.read_text() for file in (out / "saliency").iterdir()}
    assert found == {image: image for image in AUGMENTED}, "of training images alone"
    assert json.loads((out / "source.json").read_text())["saliency_sha256"] == digest

    del maps["./maps/2009_01.png"]
    path.write_bytes(packed(maps))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(DataError, match="1 of 4 training images, such as 2009_01"):
        bring(tmp_path, saliency=path, saliency_sha256=digest)


def test_run__test_images_if_asked_for(site, tiny, tmp_path, monkeypatch):
    publish(site, tiny, monkeypatch)
    out = bring(tmp_path, test=True)

    assert listed(out, "test") == ["2012_01"] and tags_of(out)["2012_01"] == ""
    assert (out / "JPEGImages" / "2012_01.jpg").exists()
    assert not (out / "JPEGImages" / "2099_000002.jpg").exists()


def test_run__over_bad_connections(site, tiny, tmp_path, monkeypatch):
    publish(site, tiny, monkeypatch, VOC12_TRAINVAL=moods.CUT, SBD=moods.WRONG)
    out = bring(tmp_path)

    assert listed(out, "train_aug") == AUGMENTED
    paths = [path for path, _ in site.requests]
    assert paths == ["one/voc.tar", "one/voc.tar", "one/sbd.tgz", "two/sbd.tgz"]


def test_run__again_asks_nobody_and_gives_the_same(site, tiny, tmp_path, monkeypatch):
    publish(site, tiny, monkeypatch)
    out = bring(tmp_path)
    asked = len(site.requests)
    first = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    bring(tmp_path)

    assert len(site.requests) == asked == 2
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == first


def test_run__no_mirror_works_and_nothing_is_left(site, tiny, tmp_path, monkeypatch):
    publish(site, tiny, monkeypatch)
    for name in ARCHIVES.values():
        for mirror in ("one", "two"):
            site.moods[f"{mirror}/{name}"] = [moods.GONE]
    with pytest.raises(DataError, match=r"voc\.tar: no mirror gave the right file"):
        bring(tmp_path)
    assert names(tmp_path / "data") == ["archives"] and not names(tmp_path / "data" / "archives")


def test_run__lists_that_are_not_the_fields(site, tiny, tmp_path, monkeypatch):
    publish(site, tiny, monkeypatch)
    other = {**remote_files.VOC12_LISTS, "train_aug": NameList(10_582, "0" * 64)}
    monkeypatch.setattr(remote_files, "VOC12_LISTS", other)
    with pytest.raises(DataError, match="train_aug comes out with 4 images, the field's has 10582"):
        bring(tmp_path)
    assert not (tmp_path / "data" / "voc12").exists()


def test_run__a_listed_image_that_is_not_there(site, tiny, tmp_path, monkeypatch):
    del tiny.objects["2009_01"]  # photograph and annotation
    publish(site, tiny, monkeypatch)
    with pytest.raises(DataError, match=r"lack 1 files of listed images: JPEGImages/2009_01\.jpg"):
        bring(tmp_path)
    assert not (tmp_path / "data" / "voc12").exists()


def test_run__can_be_indexed(site, tiny, tmp_path, monkeypatch):
    publish(site, tiny, monkeypatch)
    out = bring(tmp_path, tags="without_difficult")
    cfg = IndexSection(train_list="train_aug")
    index.run(cfg, data=out, out=tmp_path / "index")

    found = read_index(tmp_path / "index")
    assert [record.image for record in found.split("train")] == AUGMENTED
    assert len(found.split("val")) == 2 and all(record.mask for record in found.records)
    assert found.source == json.loads((out / "source.json").read_text())


def test_image_tags__of_objects_alone_in_vocs_order():
    xml = b"<annotation><object><name>person</name><part><name>hand</name></part></object>"
    assert image_tags(xml + b"<object><name>cat</name></object></annotation>", difficult=True) == (
        "cat",
        "person",
    )


@pytest.mark.parametrize("xml", [b"<annotation>", b"", b"<a><object><name>yak</name></object></a>"])
def test_image_tags__refuses_what_is_no_annotation_of_voc(xml):
    with pytest.raises(ValueError, match=r"no XML|unknown classes \(yak\)"):
        image_tags(xml, difficult=True)


@pytest.mark.parametrize("mat", [b"", b"not looked at", sbd_truth(12)[:200]])
def test_sbd_mask__refuses_what_is_no_mask_of_sbd(mat):
    with pytest.raises(ValueError, match=r"holds no GTcls\.Segmentation"):
        sbd_mask(mat)


def test_sbd_mask__refuses_values_that_are_no_class():
    with pytest.raises(ValueError, match="is no mask"):
        sbd_mask(sbd_truth(21))


def test_registry__addresses_end_in_the_files_names():
    files = [value for value in vars(remote_files).values() if isinstance(value, RemoteFile)]
    assert len(files) >= 3
    for file in files:
        assert file.mirrors and len(file.sha256) == 64 and file.size > 0
        assert all(url.rsplit("/", 1)[1] == file.name for url in file.mirrors)
