"""The real client against a server that cuts, truncates, is busy, or serves another file."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from types import SimpleNamespace

import loopback as moods
import pytest
from loopback import Loopback, loopback

from rca.data.images import DataError
from rca.sources import fetch as module
from rca.sources.fetch import fetch
from rca.sources.remote_files import RemoteFile

CONTENT = bytes(range(256)) * 4096  # 1 MiB, 16 chunks of the client


@pytest.fixture(autouse=True)
def waits(monkeypatch) -> list[float]:
    """The seconds that the client would have slept."""
    seconds: list[float] = []
    monkeypatch.setattr(module.time, "sleep", seconds.append)
    return seconds


@pytest.fixture(scope="module")
def server():
    with loopback() as site:
        yield site


@pytest.fixture
def site(server) -> Loopback:
    server.requests.clear()
    return server


def remote(*mirrors: str, content: bytes = CONTENT) -> RemoteFile:
    return RemoteFile("set.tar", len(content), hashlib.sha256(content).hexdigest(), mirrors)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def starts(site: Loopback) -> list[int]:
    """Where each request began."""
    return [int(asked[6:-1]) if asked else 0 for _, asked in site.requests]


def test_fetch__brings_the_file(site, tmp_path, caplog):
    caplog.set_level(logging.INFO, "rca")
    path = fetch(remote(site.serve("a", CONTENT)), tmp_path / "archives")
    assert path == tmp_path / "archives" / "set.tar"
    assert path.read_bytes() == CONTENT
    assert names(path.parent) == ["set.tar"]
    assert "set.tar 1 MB done" in caplog.text


def test_fetch__resumes_where_connections_were_cut(site, tmp_path):
    url = site.serve("a", CONTENT, *[moods.CUT] * 4, moods.NORMAL)
    assert fetch(remote(url), tmp_path).read_bytes() == CONTENT
    begun = starts(site)
    assert len(begun) == 5 > module.ATTEMPTS, "what brings something is no failure"
    assert begun == sorted(set(begun)), "no byte was asked for twice"
    assert begun[1] >= len(CONTENT) // 2 - module.CHUNK


def test_fetch__resumes_what_a_killed_run_left(site, tmp_path):
    (tmp_path / "set.tar.part").write_bytes(CONTENT[:700_000])
    assert fetch(remote(site.serve("a", CONTENT)), tmp_path).read_bytes() == CONTENT
    assert starts(site) == [700_000]
    assert names(tmp_path) == ["set.tar"]


def test_fetch__takes_a_whole_part_without_a_request(site, tmp_path):
    (tmp_path / "set.tar.part").write_bytes(CONTENT)
    assert fetch(remote(site.serve("a", CONTENT)), tmp_path).read_bytes() == CONTENT
    assert site.requests == []


def test_fetch__starts_anew_where_ranges_are_ignored(site, tmp_path):
    url = site.serve("a", CONTENT, moods.CUT, moods.NO_RANGE)
    assert fetch(remote(url), tmp_path).read_bytes() == CONTENT
    assert len(site.requests) == 2 and starts(site)[1] > 0


def test_fetch__gives_up_on_a_server_that_never_gets_further(site, tmp_path):
    url = site.serve("a", CONTENT, moods.NO_RANGE_CUT)
    with pytest.raises(DataError, match=r"ended at|Connection broken|IncompleteRead"):
        fetch(remote(url), tmp_path)
    assert len(site.requests) == module.ATTEMPTS
    assert names(tmp_path) == ["set.tar.part"]


def test_fetch__waits_longer_each_time(site, tmp_path, waits):
    with pytest.raises(DataError):
        fetch(remote("http://127.0.0.1:9/set.tar"), tmp_path)
    assert waits == [1, 2, 4]


def test_fetch__waits_for_a_busy_server_as_it_asks(site, tmp_path, caplog, waits):
    url = site.serve("a", CONTENT, moods.BUSY, moods.BUSY, moods.NORMAL)
    assert fetch(remote(url), tmp_path).read_bytes() == CONTENT
    assert caplog.text.count("answered 503; again in") == 2
    assert waits == [7, 7]


@pytest.mark.parametrize(
    ("mood", "fault"),
    [
        (moods.GONE, "answered 404"),
        (moods.PAGE, "answered with a web page"),
        (moods.HALF, f"has {len(CONTENT) // 2} bytes under that name, wanted {len(CONTENT)}"),
        (moods.WRONG, "has another file of that name"),
        (moods.LONGER, "sends more than"),
        (moods.BUSY, "answered 503"),
    ],
)
def test_fetch__goes_on_to_the_next_mirror(site, tmp_path, caplog, mood, fault):
    bad, good = site.serve("bad", CONTENT, mood), site.serve("good", CONTENT)
    assert fetch(remote(bad, good), tmp_path).read_bytes() == CONTENT
    assert f"{bad}: {fault}" in caplog.text
    assert starts(site)[-1] == 0, "nothing of the bad mirror is built upon"


def test_fetch__resumes_from_another_mirror(site, tmp_path):
    first = site.serve("first", CONTENT, moods.CUT, moods.GONE)
    assert fetch(remote(first, site.serve("second", CONTENT)), tmp_path).read_bytes() == CONTENT
    assert starts(site)[-1] >= len(CONTENT) // 2 - module.CHUNK


def test_fetch__wrong_bytes_of_one_mirror_do_not_blame_the_next(site, tmp_path):
    # The first mirror's half is of another file of the same size; the whole is wrong then.
    first = site.serve("first", bytes(len(CONTENT)), moods.CUT, moods.GONE)
    second = site.serve("second", CONTENT)
    assert fetch(remote(first, second), tmp_path).read_bytes() == CONTENT
    assert [path for path, _ in site.requests] == ["first", "first", "second", "second"]
    assert starts(site)[-1] == 0


def test_fetch__nothing_left_under_the_name_if_every_mirror_fails(site, tmp_path):
    wrong, gone = site.serve("w", CONTENT, moods.WRONG), site.serve("g", CONTENT, moods.GONE)
    dead = "http://127.0.0.1:9/set.tar"  # the port of `discard`, where nobody listens
    with pytest.raises(DataError) as caught:
        fetch(remote(wrong, gone, dead), tmp_path)
    message = str(caught.value)
    for url, fault in ((wrong, "another file"), (gone, "404"), (dead, "refused")):
        assert any(url in line and fault in line for line in message.split("\n")), message
    assert str(tmp_path) in message and remote().sha256 in message
    assert names(tmp_path) == []


def test_fetch__uses_a_file_of_yours_where_it_lies(tmp_path):
    have = tmp_path / "mine"
    have.mkdir()
    (have / "set.tar").write_bytes(CONTENT)
    assert fetch(remote(), tmp_path / "archives", have) == have / "set.tar"
    assert names(tmp_path) == ["mine"]


def test_fetch__a_folder_of_yours_that_is_not_there(site, tmp_path):
    with pytest.raises(DataError, match=r"no such folder; correct download\.have"):
        fetch(remote(site.serve("a", CONTENT)), tmp_path, tmp_path / "mnie")
    assert site.requests == []


@pytest.mark.parametrize("place", ["mine", "archives"])
def test_fetch__refuses_a_wrong_file_that_is_there(site, tmp_path, place):
    (tmp_path / "mine").mkdir()
    (tmp_path / "archives").mkdir()
    (tmp_path / place / "set.tar").write_bytes(b"else")
    file = remote(site.serve("a", CONTENT))
    with pytest.raises(DataError, match="not the file of this name") as caught:
        fetch(file, tmp_path / "archives", tmp_path / "mine")
    assert str(tmp_path / place / "set.tar") in str(caught.value)
    assert file.sha256 in str(caught.value) and site.requests == []


def test_fetch__says_so_if_there_is_no_room(site, tmp_path, monkeypatch):
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(DataError, match=r"only 0\.0 GB are free"):
        fetch(remote(site.serve("a", CONTENT)), tmp_path)
    assert site.requests == []
