"""Which photographs are meant and how they are called, however they are reached."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rca.config import ConfigError
from rca.data.images import DataError
from rca.inference.listing import list_photographs


@pytest.fixture
def tree(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in (
        "p/b.jpg",
        "p/a.JPG",
        "p/sub/a.png",
        "p/sub/deep/c.webp",
        "p/note.doc",
        "p/.hidden.jpg",
        "p/.cache/d.jpg",
        "q/b.jpg",
        "q/x.data",
    ):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")
    return tmp_path


def names(*arguments: str, out: str = "out") -> list[str]:
    return [one.name for one in list_photographs(arguments, Path(out))]


def test_folder__with_all_below_it_in_order(tree):
    listed = list_photographs(["p"], Path("out"))
    assert [one.file.as_posix() for one in listed] == [
        "p/a.JPG",
        "p/b.jpg",
        "p/sub/a.png",
        "p/sub/deep/c.webp",
    ]
    assert [one.name for one in listed] == ["a", "b", "sub/a", "sub/deep/c"]
    assert [one.place for one in listed][2] == "sub/a.png"


def test_folder__leaves_out_the_masks_of_an_earlier_run(tree):
    (tree / "p/out/masks").mkdir(parents=True)
    (tree / "p/out/masks/a.png").touch()
    assert names("p", out="p/out") == ["a", "b", "sub/a", "sub/deep/c"]
    assert names("p/**/*.png", out="p/out") == ["a"]


def test_folder__does_not_follow_links_to_folders(tree):
    (tree / "p/link").symlink_to(tree / "q")
    (tree / "p/loop").symlink_to(tree / "p")
    (tree / "p/linked.jpg").symlink_to(tree / "q/b.jpg")
    assert names("p") == ["a", "b", "linked", "sub/a", "sub/deep/c"]


def test_files_and_globs__are_named_below_the_folder_that_holds_all(tree):
    assert names("q/x.data") == ["x"]
    assert names("p/b.jpg", "q/b.jpg") == ["p/b", "q/b"]
    assert names("p/*.*g", "p/sub/*.png") == ["b", "sub/a"]
    assert names("p/**/*.[jp]*g") == ["b", "sub/a"]
    assert names(str(tree / "p/b.jpg"), "p/sub/../sub/a.png") == ["b", "sub/a"]


def test_list__paths_are_relative_to_it_and_cannot_leave_the_output(tree):
    (tree / "p/list.txt").write_text(f"b.jpg\n\n../q/b.jpg\nsub/deep/c.webp\n{tree}/p/a.JPG\n")
    assert names("p/list.txt") == ["p/b", "q/b", "p/sub/deep/c", "p/a"]
    (tree / "p/list.txt").write_text("../../../../../../../../../../etc/passwd\n")
    (name,) = names("p/list.txt")
    assert name == "passwd"


def test_names__photographs_that_would_share_one_are_told_apart(tree):
    first, second = names("p", "q")[1], names("p", "q")[-1]
    assert first != second
    assert first.startswith("b-") and second.startswith("b-")
    assert names("p", "q")[0] == "a"
    assert names("q", "p")[0] == second, "a name depends on nothing but its photograph"
    for twin in ("p/b.png", "p/B.jpeg"):
        (tree / twin).touch()
        several = names("p")
        assert len({name.casefold() for name in several}) == len(several)
        (tree / twin).unlink()


def test_names__a_file_is_no_folder_of_another(tree):
    inside = tree / "p/b.png/z.jpg"
    inside.parent.mkdir()
    inside.touch()
    first, second = names("p/b.jpg", "p/b.png/z.jpg")
    assert second == "b.png/z" and first.startswith("b-")


def test_names__too_long_ones_are_cut(tree):
    for letter in "xy":
        (tree / "q" / ("é" * 120 + letter + ".jpg")).touch()
    found = names("q")
    assert len(set(found)) == 3
    assert all(len(os.fsencode(name)) < 200 for name in found)


def test_photographs__count_once(tree):
    (tree / "all.txt").write_text("p/b.jpg\np/b.jpg\n")
    assert names("p", "p/b.jpg", "./p/b.jpg", "all.txt", "p/../p/b.jpg") == names("p")


def test_arguments__that_name_nothing_are_refused(tree):
    (tree / "empty").mkdir()
    (tree / "bad.txt").write_bytes(b"\xff\xfe\x00")
    for argument, message in {
        "none.jpg": "none.jpg: no such file or folder",
        "*.none": r"no file matches",
        "empty": "empty: no photograph found",
    }.items():
        with pytest.raises(ConfigError, match=message):
            names(argument)
    with pytest.raises(DataError, match=r"bad.txt: not a list"):
        names("bad.txt")
