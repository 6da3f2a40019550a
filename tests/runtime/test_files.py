"""Output is whole or absent."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rca.runtime.files import new_file, new_folder, write_json, write_text


class Failure(Exception):
    pass


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_new_file__appears_at_the_end(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    with new_file(path) as partial:
        partial.write_text("content")
        assert not path.exists()
    assert path.read_text() == "content"
    assert names(path.parent) == ["a.txt"]


def test_new_file__replaces(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with new_file(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("old", [None, "old"])
def test_new_file__exception_leaves_what_was_there(tmp_path, old):
    path = tmp_path / "a.txt"
    if old:
        path.write_text(old)
    with pytest.raises(Failure), new_file(path) as partial:
        partial.write_text("half")
        raise Failure
    assert names(tmp_path) == (["a.txt"] if old else [])
    assert not old or path.read_text() == old


def test_new_folder__appears_at_the_end(tmp_path):
    path = tmp_path / "deep" / "out"
    with new_folder(path) as partial:
        (partial / "a.txt").write_text("content")
        assert not path.exists()
    assert names(path) == ["a.txt"]
    assert names(path.parent) == ["out"]


def test_new_folder__replaces_the_whole_folder(tmp_path):
    path = tmp_path / "out"
    for name in ("old", "new"):
        with new_folder(path) as partial:
            (partial / name).write_text(name)
    assert names(path) == ["new"]
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("old", [False, True])
def test_new_folder__exception_leaves_what_was_there(tmp_path, old):
    path = tmp_path / "out"
    if old:
        path.mkdir()
        (path / "old").touch()
    with pytest.raises(Failure), new_folder(path) as partial:
        (partial / "half").touch()
        raise Failure
    assert names(tmp_path) == (["out"] if old else [])
    assert not old or names(path) == ["old"]


def test_new_folder__leftovers_of_a_killed_run_go(tmp_path):
    killed = (
        "import os, pathlib, rca.runtime.files\n"
        "with rca.runtime.files.new_folder(pathlib.Path('out')) as partial:\n"
        "    (partial / 'half').touch()\n"
        "    os._exit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", killed], cwd=tmp_path).returncode == 9
    assert len(names(tmp_path)) == 1 and names(tmp_path) != ["out"]

    (tmp_path / ".other.12345678.partial").mkdir()
    with new_folder(tmp_path / "out") as partial:
        (partial / "whole").touch()
    assert names(tmp_path / "out") == ["whole"]
    assert names(tmp_path) == [".other.12345678.partial", "out"], "another folder's work is left"


def test_write_text__utf8_whatever_the_locale(tmp_path):
    write_text(tmp_path / "a.txt", "βeta ≤ 8\n")
    assert (tmp_path / "a.txt").read_bytes() == "βeta ≤ 8\n".encode()


def test_write_json__order_kept_and_readable(tmp_path):
    content = {"b": [1, 2.5], "a": "β"}
    write_json(tmp_path / "a.json", content)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == content
    assert list(json.loads(text)) == ["b", "a"]
    assert "β" in text and text.endswith("}\n")
