"""What learns from tags cannot see a mask or a validation image."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest
from tiny_results import write_results

from rca.config import (
    Aggregation,
    Backbone,
    Compute,
    Crf,
    Head,
    InferSeg,
    Memory,
    PseudoLabels,
    Readout,
    TrainCam,
    TrainSeg,
    View,
)
from rca.data.index import (
    LeakError,
    TrainingIndex,
    read_index,
    read_maskless_index,
    read_training_index,
)
from rca.stages import crf, pseudo_labels, readout, relabel, train_cam, train_seg

NETWORK = {
    "epochs": 1,
    "batch_size": 2,
    "view": View(size=32),
    "backbone": Backbone(name="mobilenet_v2", stride=32, weights="none"),
}
COMPUTE = Compute(device="cpu", threads=1)

_watchers: list[list[Path]] = []


def _watch(event: str, arguments: tuple) -> None:
    if event == "open" and isinstance(arguments[0], str | os.PathLike):
        for opened in _watchers:
            opened.append(Path(arguments[0]))


sys.addaudithook(_watch)  # stays for good; it does nothing while nobody watches


@contextmanager
def opened_files() -> Iterator[list[Path]]:
    """Every file that Python opens meanwhile."""
    opened: list[Path] = []
    _watchers.append(opened)
    try:
        yield opened
    finally:
        _watchers.remove(opened)


def run_train_cam(results: Path) -> None:
    cfg = TrainCam(
        **NETWORK, head=Head(depth=0), memory=Memory(slots=4), rsa=Aggregation(prototypes=2)
    )
    train_cam.run(cfg, COMPUTE, 0, index=results / "index", out=results / "out")


def run_train_seg(results: Path, supervision: str = "pseudo") -> None:
    train_seg.run(
        TrainSeg(**NETWORK),
        COMPUTE,
        0,
        supervision=supervision,
        index=results / "index",
        labels=results / "crf",
        out=results / "out",
    )


def run_pseudo_labels(results: Path) -> None:
    folders = {"index": results / "index", "maps": results / "readout"}
    pseudo_labels.run(PseudoLabels(), **folders, out=results / "out")


def run_crf(results: Path) -> None:
    folders = {"index": results / "index", "maps": results / "readout"}
    labels = results / "pseudo_labels"
    crf.run(Crf(processes=1), PseudoLabels(), **folders, labels=labels, out=results / "out")


def run_readout(results: Path) -> None:
    run_train_cam(results)
    (results / "out").rename(results / "train_cam_out")
    cfg = Readout(method="prototypes", blocks=[13, 16], sizes=[32], network_stride=16)
    readout.run(
        cfg,
        COMPUTE,
        0,
        index=results / "index",
        weights=results / "train_cam_out/weights.safetensors",
        cams=results / "infer_cam",
        out=results / "out",
        state=results / "state",
    )


def run_relabel(results: Path) -> None:
    run_train_seg(results)
    (results / "out").rename(results / "train_seg_out")
    relabel.run(
        InferSeg(size=32, scales=[1.0]),
        Crf(processes=1),
        COMPUTE,
        index=results / "index",
        weights=results / "train_seg_out/weights.safetensors",
        out=results / "out",
        state=results / "state",
    )


LEARNERS = [run_train_cam, run_pseudo_labels, run_crf, run_train_seg, run_relabel]


def forbidden(results: Path) -> set[Path]:
    """Masks of both splits, and the images of validation."""
    records = read_index(results / "index").records
    masks = {record.mask for record in records}
    return masks | {record.file for record in records if record.split == "val"}


@pytest.mark.parametrize("run", LEARNERS)
def test_learning_from_tags__opens_no_mask_and_no_validation_image(
    tmp_path: Path, run: Callable[[Path], None]
):
    results = write_results(tmp_path)
    hidden = forbidden(results)
    with opened_files() as opened:
        run(results)
    assert (results / "out").is_dir()
    assert not hidden & set(opened)


@pytest.mark.parametrize("run", LEARNERS)
def test_learning_from_tags__does_without_masks_and_validation_images(
    tmp_path: Path, run: Callable[[Path], None]
):
    results = write_results(tmp_path)
    for file in forbidden(results):
        file.unlink()
    run(results)
    assert (results / "out").is_dir()


def test_readout__opens_no_mask(tmp_path: Path):
    results = write_results(tmp_path)
    data = read_index(results / "index")
    masks = {record.mask for record in data.records}
    with opened_files() as opened:
        run_readout(results)
    assert {record.file for record in data.records} <= set(opened)
    assert not masks & set(opened)
    for file in masks:
        file.unlink()
    (results / "out").rename(results / "before")
    run_readout(write_results(tmp_path / "again", masks=False))


def test_readout__has_no_way_to_read_a_mask(tmp_path: Path):
    assert readout.read_maskless_index is read_maskless_index
    assert not hasattr(readout, "read_index")
    data = read_maskless_index(write_results(tmp_path) / "index")
    assert all(record.mask is None for record in data.records) and len(data.split("val")) == 1
    with pytest.raises(LeakError, match="must not see the mask of a"):
        data.truth(data.records[0])


@pytest.mark.parametrize("stage", [train_cam, pseudo_labels, crf, relabel])
def test_learning_from_tags__has_no_way_to_read_the_whole_index(stage: ModuleType):
    assert stage.read_training_index is read_training_index
    assert not hasattr(stage, "read_index")


def test_learning_from_truth__is_seen_to_open_the_training_masks_alone(tmp_path: Path):
    results = write_results(tmp_path)
    data = read_index(results / "index")
    with opened_files() as opened:
        run_train_seg(results, "truth")
    assert forbidden(results) & set(opened) == {record.mask for record in data.split("train")}


def test_read_training_index__hides_masks_and_validation_images(tmp_path: Path):
    folder = write_results(tmp_path) / "index"
    whole, seen = read_index(folder), read_training_index(folder)
    assert isinstance(seen, TrainingIndex)
    assert (
        [record.image for record in seen.records]
        == ["a", "b"]
        == [record.image for record in seen.split("train")]
    )
    assert all(record.mask is None for record in seen.records)
    assert seen.tag_vector(seen.records[0]).tolist() == [1, 0]
    with pytest.raises(LeakError, match="must not see the mask of a"):
        seen.truth(whole.split("train")[0])  # even of a record that has one
    with pytest.raises(LeakError, match="must not see images of val"):
        seen.split("val")
