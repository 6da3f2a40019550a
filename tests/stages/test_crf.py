from __future__ import annotations

import numpy as np
import pytest
from label_data import EDGE, WIDTH, LabelData, contents, make_label_data
from PIL import Image

from rca.config import Crf, PseudoLabels
from rca.data.checksums import SUMS, sha256_of
from rca.data.images import DataError, read_mask
from rca.labels.crf import dense_crf
from rca.labels.rules import label_map
from rca.labels.scores import crf_scores, upsample_cams
from rca.runtime.state import WHOLE, Shard
from rca.stages import crf, pseudo_labels

SERIAL = Crf(processes=1, bilateral_sxy=20, iterations=5)
RULES = PseudoLabels(threshold=0.4)


@pytest.fixture
def data(tmp_path) -> LabelData:
    return make_label_data(tmp_path / "data")


def run(data, out, cfg=SERIAL, rules=RULES, labels=None):
    shard(data, out, WHOLE, cfg, rules, labels)
    return {path.stem: read_mask(path) for path in out.iterdir()}


def shard(data, out, shard, cfg=SERIAL, rules=RULES, labels=None):
    crf.run(
        cfg,
        rules,
        index=data.index,
        maps=data.cams,
        labels=labels or data.root / "pseudo_labels",
        out=out,
        state=data.root / "state",
        shard=shard,
    )


def test_run__snaps_to_the_edges_of_the_image(data, tmp_path):
    pseudo_labels.run(RULES, index=data.index, maps=data.cams, out=tmp_path / "before")
    before = read_mask(tmp_path / "before" / "one.png")
    after = run(data, tmp_path / "after")["one"]
    truth = np.zeros_like(before)
    truth[:, EDGE:] = 1
    assert (before != truth).any()
    assert (after == truth).all()


def test_run__is_crf_then_rules(data, tmp_path):
    rules = PseudoLabels(threshold=0.4, uncertain_margin=0.9)
    maps = run(data, tmp_path / "out", rules=rules)
    assert set(maps) == {"one", "two", "three"}
    for record in data.records[:3]:
        cams = upsample_cams(data.cams_of(record.image), record.height, record.width)
        image = np.asarray(Image.open(record.file))
        posteriors = dense_crf(image, crf_scores(cams, rules), SERIAL)
        expected = label_map(posteriors, np.array(data.stored[record.image]), rules)
        assert (maps[record.image] == expected).mean() > 0.99  # CAMs are stored in 16 bits


def test_run__saliency_replaces_the_background_after_the_crf(data, tmp_path):
    rules = PseudoLabels(background="saliency", conflict_threshold=1, min_foreground=0)
    Image.new("L", (WIDTH, 16), 0).save(data.root / "one-saliency.png")
    Image.new("L", (WIDTH, 16), 255).save(data.root / "two-saliency.png")
    maps = run(data, tmp_path / "out", rules=rules)
    assert (maps["one"] == 0)[:, :EDGE].all()
    # Nothing is salient in `one`: background, doubtful only where the CAM is confident.
    assert set(np.unique(maps["one"][:, EDGE:])) <= {0, 255}
    # All is salient in `two`: no background score, the class takes every pixel.
    assert (maps["two"] == 2).all()


def test_run__same_bytes_with_one_or_two_processes(data, tmp_path):
    run(data, tmp_path / "one")
    run(data, tmp_path / "two", Crf(processes=2, bilateral_sxy=20, iterations=5))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_run__bad_image_is_named_and_leaves_nothing(data, tmp_path):
    (data.root / "three.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"three\.png: cannot be decoded") as caught:
        run(data, tmp_path / "out" / "crf")
    assert caught.value.__notes__ == ["while working on three"]
    assert not (tmp_path / "out" / "crf").exists()


def test_run__image_of_another_size_is_an_error(data, tmp_path):
    Image.new("RGB", (8, 9)).save(data.root / "two.png")
    with pytest.raises(DataError, match=r"two\.png: 8 × 9 pixels, the index says 24 × 16"):
        run(data, tmp_path / "out")


def test_run__none_copies_the_labels(data, tmp_path):
    pseudo_labels.run(RULES, index=data.index, maps=data.cams, out=tmp_path / "before")
    run(data, tmp_path / "after", Crf(method="none"), labels=tmp_path / "before")
    assert contents(tmp_path / "after") == contents(tmp_path / "before")


def test_run__none_without_labels_is_an_error(data, tmp_path):
    with pytest.raises(DataError, match=r"one\.png: no such label map; run `rca pseudo-labels`"):
        run(data, tmp_path / "out", Crf(method="none"))


@pytest.mark.parametrize("truncated", [False, True])
def test_run__killed_goes_on_where_it_was(data, tmp_path, monkeypatch, truncated):
    run(data, tmp_path / "undisturbed")
    refined = []

    def refine(evidence, *arguments):
        if len(refined) == 2:
            raise KeyboardInterrupt
        refined.append(evidence.record.image)
        return undisturbed(evidence, *arguments)

    undisturbed = crf.refine
    monkeypatch.setattr(crf, "refine", refine)
    with pytest.raises(KeyboardInterrupt):
        run(data, tmp_path / "killed")
    assert not (tmp_path / "killed").exists()
    first, _ = sorted((data.root / "state").rglob("*.png"))
    if truncated:
        first.write_bytes(first.read_bytes()[:-20])
    done = refined.copy()
    refined.clear()
    run(data, tmp_path / "killed")

    assert contents(tmp_path / "killed") == contents(tmp_path / "undisturbed")
    assert sorted(done + refined) == sorted(["one", "two", "three", *[first.stem] * truncated])
    assert not list((data.root / "state").rglob("*.png"))


def test_run__shards_do_all_the_work_once_and_the_stage_publishes_it(data, tmp_path, monkeypatch):
    run(data, tmp_path / "undisturbed")
    worked = []
    refine = crf.refine

    def count(evidence, *arguments):
        worked.append(evidence.record.image)
        return refine(evidence, *arguments)

    monkeypatch.setattr(crf, "refine", count)
    for number in (2, 1):
        shard(data, tmp_path / "shared", Shard(number, 2))
        assert not (tmp_path / "shared").exists()
    assert sorted(worked) == ["one", "three", "two"]
    worked.clear()

    run(data, tmp_path / "shared")
    assert worked == []
    assert contents(tmp_path / "shared") == contents(tmp_path / "undisturbed")


def test_run__none_has_nothing_to_share(data, tmp_path):
    shard(data, tmp_path / "out", Shard(1, 2), Crf(method="none"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("listed", [False, True])
def test_run__a_photograph_that_changed_after_the_index_is_not_taken_for_the_old_one(
    data, tmp_path, listed
):
    if listed:  # and not only read
        lines = [f"{sha256_of(one.file)}  {one.file.name}\n" for one in data.records]
        (data.index / SUMS).write_text("".join(lines))
    shard(data, tmp_path / "out", Shard(1, 2))
    stale = {path.name: path.read_bytes() for path in (data.root / "state").rglob("*.png")}
    assert "one.png" in stale

    photograph = np.asarray(Image.open(data.root / "one.png"))
    Image.fromarray(photograph[::-1, ::-1]).save(data.root / "one.png")
    run(data, tmp_path / "out")
    assert (tmp_path / "out/one.png").read_bytes() != stale["one.png"]
