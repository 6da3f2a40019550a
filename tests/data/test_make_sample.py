"""The script that cut the embedded sample."""

from __future__ import annotations

import importlib.util
import sys
import tarfile
from pathlib import Path

import pytest

from rca.config import IndexSection
from rca.data.index import read_index
from rca.sources.unpacking import unpack
from rca.stages import index

SCRIPT = Path(__file__).parents[2] / "tools" / "make_sample.py"


@pytest.fixture(scope="module")
def make_sample():
    spec = importlib.util.spec_from_file_location("make_sample", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_choose__balances_the_animals(make_sample):
    tags = {f"dog_{n}": ["dog", "person"] for n in range(50)}
    tags |= {f"{name}_{n}": [name] for name in ("cat", "cow", "horse") for n in range(9)}
    tags |= {f"sheep_{n}": ["sheep", "dog"] for n in range(3)}
    chosen = make_sample.choose(tags, 31, "seed")
    assert chosen == sorted(set(chosen))
    counts = {name: sum(name in tags[image] for image in chosen) for name in make_sample.ANIMALS}
    # All three sheep come with a dog; 34 animals in 31 images leave 31 for the other four.
    assert counts == {"cat": 8, "cow": 8, "dog": 8, "horse": 7, "sheep": 3}


def test_choose__depends_on_the_seed_alone(make_sample):
    tags = {f"{n:03}": [make_sample.ANIMALS[n % 5]] for n in range(100)}
    shuffled = dict(sorted(tags.items(), key=lambda item: item[0][::-1]))
    assert make_sample.choose(tags, 20, "1") == make_sample.choose(shuffled, 20, "1")
    assert make_sample.choose(tags, 20, "1") != make_sample.choose(tags, 20, "2")


def test_choose__too_few_images(make_sample):
    with pytest.raises(SystemExit, match="has 1 animal images, 2 are asked for"):
        make_sample.choose({"a": ["cat"], "b": ["sofa"]}, 2, "0")


def test_main__same_bytes_and_fit_to_index(make_sample, tiny_voc, tmp_path, monkeypatch):
    tiny_voc.add("train", "2008_03", "horse", size=(40, 20))
    archives = [tmp_path / "one.tar", tmp_path / "two.tar"]
    for archive in archives:
        options = f"--source {tiny_voc.root} --out {archive} --train 2 --val 1 --long-side 10"
        monkeypatch.setattr(sys, "argv", ["make_sample", *options.split()])
        make_sample.main()
    assert archives[0].read_bytes() == archives[1].read_bytes()
    with tarfile.open(archives[0]) as tar:
        members = tar.getmembers()
    assert [member.name for member in members] == sorted(member.name for member in members)
    assert {(member.mtime, member.uid, member.gid, member.mode) for member in members} == {
        (0, 0, 0, 0o644)
    }

    unpack(archives[0], tmp_path / "sample")
    index.run(IndexSection(), data=tmp_path / "sample", out=tmp_path / "index")
    records = read_index(tmp_path / "index").records
    assert [record.split for record in records] == ["train", "train", "val"]
    assert all(max(record.width, record.height) == 10 for record in records)
