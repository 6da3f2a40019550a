"""`rca figures`: experiments side by side, through the command."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_results import evaluate_results, tiny_params, write_results

from rca import cli
from rca.data.images import write_label_map
from rca.data.index import read_index, write_index
from rca.data.palette import voc_palette
from rca.presentation import figures

PARAMS = tiny_params()


def evaluated(results: Path) -> Path:
    evaluate_results(results, PARAMS)
    return results


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> tuple[Path, Path]:
    """Two experiments on the same images; the first one's network sees nothing but background."""
    rca = evaluated(write_results(tmp_path_factory.mktemp("figures")))
    base = rca.with_name("base")
    shutil.copytree(rca, base)
    blank = np.zeros((2, 2), np.uint8)
    write_label_map(base / "infer_seg/pseudo/v.png", blank, voc_palette())
    return evaluated(base), rca


@pytest.fixture(autouse=True)
def small_pictures(monkeypatch):
    monkeypatch.setattr(figures, "DPI", 40)


def run(monkeypatch, *arguments: object) -> int:
    """Exit status of `rca figures ARGUMENTS`."""
    monkeypatch.setattr(sys, "argv", ["rca", "figures", *map(str, arguments)])
    try:
        cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_figures__writes_both_with_captions_that_say_what_is_shown(pair, tmp_path, monkeypatch):
    out = tmp_path / "out"
    assert run(monkeypatch, *pair, "--labels", "Baseline,RCA", "--out", out) == 0
    names = [f"{kind}.{suffix}" for kind in ("cams", "masks") for suffix in ("pdf", "png", "txt")]
    assert sorted(file.name for file in out.iterdir()) == names

    cams = (out / "cams.txt").read_text()
    assert "Columns: Photograph; Baseline; RCA; Truth." in cams
    assert "chosen by a rule" in cams and "classes take turns" in cams
    assert "  b (dog): – | –\n" in cams  # the better of two; dog is in neither of its maps

    masks = (out / "masks.txt").read_text()
    assert f"Baseline: {pair[0]}, seed 0, mIoU of all 1 images in %" in masks
    assert "The numbers of these experiments are comparable." in masks
    assert "mIoU is the mean over 3 classes" in masks
    # `v`: background 1/4 and dog 0/3; then background 1/1, cat 0/1, dog 2/3.
    assert f"  v: {100 * (1 / 4 + 0) / 2:.1f} | {100 * (1 + 0 + 2 / 3) / 3:.1f}\n" in masks


def test_figures__have_a_row_for_each_class_of_an_image(pair, tmp_path, monkeypatch):
    run(monkeypatch, *pair, "--images", "v", "--out", tmp_path / "out")
    text = (tmp_path / "out/cams.txt").read_text()
    assert "Images chosen by hand." in text and "Segmentation" not in text
    assert "  v (cat): " in text and "  v (dog): " in text
    with (
        Image.open(tmp_path / "out/cams.png") as cams,
        Image.open(tmp_path / "out/masks.png") as masks,
    ):
        assert cams.height > masks.height - 20  # two rows against one and a legend


def test_figures__score_the_class_of_a_row(pair, tmp_path):
    figures.run(pair, out=tmp_path, images=["a"])
    # Of 4 true pixels 3 lie above the threshold, and a false one.
    assert "  a (cat): 60.0 | 60.0\n" in (tmp_path / "cams.txt").read_text()
    assert (tmp_path / "masks.txt").read_text().startswith("Pseudo-labels after CRF, training")


def test_figures__leave_other_files_of_the_folder_alone(pair, tmp_path):
    (tmp_path / "paper.tex").write_text("mine")
    figures.run(pair, out=tmp_path, kinds=["masks"])
    assert (tmp_path / "paper.tex").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 4


def test_figures__same_bytes_every_time(pair, tmp_path):
    for name in ("a", "b"):
        figures.run(pair, out=tmp_path / name)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes(), file.name


def test_figures__most_changed_say_so(pair, tmp_path):
    figures.run(pair, out=tmp_path, kinds=["masks"], rule="changed")
    assert "differs most between base and tiny, up or down" in (tmp_path / "masks.txt").read_text()


def test_figures__without_masks_are_of_images_at_equal_distances(tmp_path):
    results = evaluated(write_results(tmp_path, masks=False, truth_network=False))
    figures.run([results], out=tmp_path / "out")
    text = (tmp_path / "out/masks.txt").read_text()
    assert "Columns: Photograph; tiny. " in text and "no true masks" in text
    assert "not scored" in text and "  v: –\n" in text


def without_index(other: Path):
    shutil.rmtree(other / "index")


def without_cams(other: Path):
    shutil.rmtree(other / "infer_cam/train")


def without_a_mask(other: Path):
    (other / "infer_seg/pseudo/v.png").unlink()


def without_scores(other: Path):
    shutil.rmtree(other / "evaluate")


def other_classes(other: Path):
    index = read_index(other / "index")
    write_index(other / "index", index.__class__(**{**vars(index), "classes": ("cat", "cow")}))


def other_images(other: Path):
    index = read_index(other / "index")
    kept = tuple(record for record in index.records if record.image != "b")
    write_index(other / "index", index.__class__(**{**vars(index), "records": kept}))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without_index, "run `rca index` first"),
        (without_cams, "run `rca infer-cam` first"),
        (without_a_mask, "v.png: no such file; run `rca infer-seg` first"),
        (without_scores, "run `rca evaluate` first"),
        (other_classes, "have different classes (cat, dog; cat, cow)"),
        (other_images, "have different train images: 1 are in one of them only, such as b"),
    ],
)
def test_figures__refuse_what_does_not_go_together(
    pair, tmp_path, monkeypatch, capsys, spoil, message
):
    other = tmp_path / "other"
    shutil.copytree(pair[1], other)
    spoil(other)
    assert run(monkeypatch, pair[0], other, "--out", tmp_path / "out") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--images", "w"], "w: no image of "),
        (["--images", "v,a"], "images of both splits"),
        (["--images", "v", "--split", "train"], "are of val, not of train"),
        (["--labels", "one"], "1 labels for 2 experiments"),
    ],
)
def test_figures__wrong_options(pair, tmp_path, monkeypatch, capsys, options, message):
    assert run(monkeypatch, *pair, "--out", tmp_path / "out", *options) == 2
    assert message in capsys.readouterr().err


def test_figures__most_changed_needs_two(pair, tmp_path, monkeypatch, capsys):
    assert run(monkeypatch, pair[1], "--choose", "changed", "--out", tmp_path / "out") == 2
    assert "need two experiments" in capsys.readouterr().err


@pytest.fixture(scope="module")
def read_out(tmp_path_factory) -> Path:
    """An experiment whose maps were read from prototypes."""
    results = write_results(tmp_path_factory.mktemp("read_out"))
    evaluate_results(results, tiny_params(readout="prototypes"))
    return results


def test_figures__posteriors_are_a_figure_where_every_experiment_has_them(read_out, tmp_path):
    files = figures.run([read_out], out=tmp_path, images=["a"])
    names = {file.stem for file in files}
    assert names == {"cams", "posteriors", "masks"}
    text = (tmp_path / "posteriors.txt").read_text()
    assert text.startswith("Prototype readout, training images.")
    assert "White line: where the class's posterior passes 0.5." in text
    assert re.search(r"  a \(cat\): \d+\.\d\n", text)
    with (
        Image.open(tmp_path / "cams.png") as cams,
        Image.open(tmp_path / "posteriors.png") as posteriors,
    ):
        # The same maps in this fixture, but a line at 0.5 and not at the threshold.
        assert cams.size == posteriors.size
        assert cams.tobytes() != posteriors.tobytes()


def test_figures__posteriors_of_cams_are_refused(pair, read_out, tmp_path, monkeypatch, capsys):
    mixed = [pair[0], read_out]
    assert run(monkeypatch, *mixed, "--only", "posteriors", "--out", tmp_path / "out") == 2
    assert (
        f"{pair[0]}: has no posteriors, since its readout.method is cams" in capsys.readouterr()[1]
    )
    assert not (tmp_path / "out").exists()
