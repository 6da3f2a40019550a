"""State is found again by the same configuration, files and code, and by no other."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rca.runtime import state
from rca.runtime.code import PACKAGE
from rca.runtime.state import Shard, merge, resumable_folder, state_folder


@pytest.fixture
def image(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "one.png"
    file.write_bytes(b"pixels")
    return file


def folder(image: Path, out: str = "out", **values) -> Path:
    module = "rca.stages.crf"
    return state_folder(Path("state"), module, Path(out), values=values, files=[image])


def test_state_folder__is_the_same_for_the_same(image):
    assert (
        folder(image, seed=0)
        == folder(image, seed=0)
        == folder(image, image.parent / "out", seed=0)
    )
    assert folder(image, seed=0).parent == Path("state/crf")


def test_state_folder__changes_with_values_contents_result_and_libraries(image, monkeypatch):
    found = [folder(image), folder(image, seed=1), folder(image, "other")]
    image.write_bytes(b"Pixels")
    found.append(folder(image))
    image.unlink()
    found.append(folder(image))
    monkeypatch.setattr(state, "version", lambda _: "0")
    found.append(folder(image))
    assert len(set(found)) == len(found)


def test_state_folder__takes_a_known_digest_instead_of_reading_the_file(image):
    def named(digest: str) -> Path:
        sums = {image: digest}
        return state_folder(
            Path("state"), "rca.stages.crf", Path("out"), values={}, files=[image], sums=sums
        )

    read = folder(image)
    assert named(hashlib.sha256(b"pixels").hexdigest()) == read
    image.write_bytes(b"Pixels")
    assert named(hashlib.sha256(b"pixels").hexdigest()) == read
    assert named(hashlib.sha256(b"Pixels").hexdigest()) == folder(image) != read


def test_state_folder__changes_with_the_stages_code_whatever_else_is_imported(tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "rca", ignore=shutil.ignore_patterns("__pycache__"))

    def named(imported: str = "os") -> str:
        program = (
            f"import {imported}\nfrom pathlib import Path\n"
            "from rca.runtime.state import state_folder\n"
            "folder = state_folder(Path('s'), 'rca.stages.crf', Path('o'), values={}, files=[])\n"
            "print(folder)"
        )
        run = [sys.executable, "-c", program]
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        return subprocess.check_output(run, cwd=tmp_path, env=environment, text=True)

    before = named()
    assert before == named("rca.sources.texts, rca.labels.rules")
    with (tmp_path / "rca/sources/texts.py").open("a") as file:
        file.write("EDITED = True\n")
    assert before == named() == named("rca.sources.texts")
    with (tmp_path / "rca/labels/rules.py").open("a") as file:
        file.write("EDITED = True\n")
    assert before != named() == named("rca.sources.texts")


def test_resumable_folder__outlives_an_error_and_then_becomes_the_result(tmp_path, image):
    done, out = folder(image), tmp_path / "out"
    with pytest.raises(KeyboardInterrupt), resumable_folder(out, done, ["a", "b/c"]) as part:
        (part / "a").write_text("1")
        raise KeyboardInterrupt
    assert not out.exists()
    with resumable_folder(out, done, ["a", "b/c"]) as part:
        assert (part / "a").read_text() == "1"
        (part / "b").mkdir()
        (part / "b/c").write_text("2")
    files = [file.relative_to(out).as_posix() for file in out.rglob("*") if file.is_file()]
    assert sorted(files) == ["a", "b/c"]
    assert not done.exists()


def test_resumable_folder__is_never_published_in_part(tmp_path, image):
    out = tmp_path / "out"
    with pytest.raises(FileNotFoundError), resumable_folder(out, folder(image), ["a", "b"]) as part:
        (part / "a").touch()
    assert not out.exists()


def on(image: Path, device: str, *names: str) -> Path:
    """The state of a result on a device, with these files."""
    state = folder(image, device=device)
    for name in names:
        (state / name).write_text(device)
    return state


def test_merge__takes_complete_work_of_another_device(image):
    mine, other, out = on(image, "cpu", "a"), on(image, "cuda", "a", "b"), Path("out")

    assert merge(out, mine, ["cuda"], ["a", "b"], lambda at: (at / "b").is_file())

    assert {file.name: file.read_text() for file in out.iterdir()} == {"a": "cuda", "b": "cuda"}
    assert not mine.exists() and not other.exists()


def test_merge__takes_its_own_work_and_no_other_where_it_may_not(image):
    mine, other, out = on(image, "cpu"), on(image, "cuda", "a"), Path("out")

    assert not merge(out, mine, [], ["a"], lambda at: (at / "a").is_file())
    assert not out.exists() and other.exists()
    (mine / "a").write_text("cpu")
    assert merge(out, mine, [], ["a"], lambda at: (at / "a").is_file())
    assert (out / "a").read_text() == "cpu"


def test_merge__takes_no_part_of_the_work(image):
    mine, other = on(image, "cpu"), on(image, "cuda", "a")
    assert not merge(Path("out"), mine, ["cuda"], ["a", "b"], lambda at: (at / "b").is_file())
    assert mine.exists() and other.exists()


@pytest.mark.parametrize(("pieces", "shards"), [(7, 3), (2, 3), (6, 1)])
def test_shard__all_of_them_hold_every_piece_once(pieces, shards):
    shares = [list(Shard(number, shards).pick(range(pieces))) for number in range(1, shards + 1)]

    assert sorted(piece for share in shares for piece in share) == list(range(pieces))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_resumable_folder__of_a_shard_is_not_published(tmp_path, image):
    out, done = tmp_path / "out", folder(image)
    with resumable_folder(out, done, ["a", "b"], Shard(1, 2)) as part:
        (part / "a").write_text("1")

    assert not out.exists()
    assert (done / "a").read_text() == "1"
