"""Archives: the right one, and nothing outside the folder."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import stat
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

from rca.config import ArchiveSource
from rca.data.images import DataError
from rca.sources.unpacking import contents, unpack
from rca.stages import download


def make_tar(path: Path, *members: tarfile.TarInfo, **contents: bytes) -> Path:
    """A tar of `members` without content, and of files `contents`, `__` standing for `/`."""
    with tarfile.open(path, "w") as tar:
        for name, content in contents.items():
            member = tarfile.TarInfo(name.replace("__", "/"))
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for member in members:
            tar.addfile(member)
    return path


def make_zip(path: Path, links: dict[str, str] | None = None, **contents: bytes) -> Path:
    """A zip of stored files `contents`, and of symbolic `links`, as Info-ZIP keeps them."""
    with zipfile.ZipFile(path, "w") as zipped:
        for name, content in contents.items():
            zipped.writestr(name.replace("__", "/"), content)
        for name, target in (links or {}).items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            zipped.writestr(info, target)
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def bring(archive: Path, out: Path) -> None:
    """The whole of the stage, for an archive that is as wanted."""
    cfg = ArchiveSource(source="archive", name="set", archive=archive, sha256=sha256(archive))
    download.run(cfg, out=out)


def everything_under(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_run__right_archive(tmp_path):
    archive = make_tar(tmp_path / "set.tar", tags=b"t", JPEGImages__a=b"image" * 1000)
    out = tmp_path / "data" / "set"
    cfg = ArchiveSource(source="archive", name="set", archive=archive, sha256=sha256(archive))

    download.run(cfg, out=out)
    found = everything_under(out)
    note = json.loads(found.pop("source.json"))
    assert found == {"tags": b"t", "JPEGImages/a": b"image" * 1000}
    assert note == {"source": "archive", "archives": {"set.tar": sha256(archive)}}

    # What lay there before goes, and a second run leaves the same.
    (out / "stray").write_text("of an older version")
    download.run(cfg, out=out)
    assert everything_under(out).keys() == {"tags", "JPEGImages/a", "source.json"}
    assert [path.name for path in out.parent.iterdir()] == ["set"]


def test_run__wrong_digest(tmp_path):
    archive = make_tar(tmp_path / "set.tar", tags=b"t")
    out = tmp_path / "set"
    cfg = ArchiveSource(source="archive", name="set", archive=archive, sha256="0" * 64)
    with pytest.raises(DataError) as caught:
        download.run(cfg, out=out)
    message = str(caught.value)
    assert str(archive) in message
    assert "0" * 64 in message and sha256(archive) in message
    assert "download.sha256" in message
    assert not out.exists()


def test_run__no_such_file(tmp_path):
    cfg = ArchiveSource(
        source="archive", name="set", archive=tmp_path / "none.tar", sha256="0" * 64
    )
    with pytest.raises(DataError, match=r"none\.tar: no such file.*download\.archive"):
        download.run(cfg, out=tmp_path / "set")


def test_run__keeps_what_a_packed_folder_says_of_its_source(tmp_path):
    archive = make_tar(tmp_path / "set.tar", **{"source.json": b"{}"})
    bring(archive, tmp_path / "set")
    assert everything_under(tmp_path / "set") == {"source.json": b"{}"}


@pytest.mark.parametrize(
    ("unsafe", "fault"),
    [
        (member("/etc/evil"), "absolute"),
        (member("../evil"), "leave the folder"),
        (member("images/../../evil"), "leave the folder"),
        (member("evil", tarfile.SYMTYPE, "/etc/passwd"), "link or a device"),
        (member("evil", tarfile.SYMTYPE, "good"), "link or a device"),
        (member("evil", tarfile.LNKTYPE, "good"), "link or a device"),
        (member("evil", tarfile.CHRTYPE), "link or a device"),
        (member("evil", tarfile.BLKTYPE), "link or a device"),
        (member("evil", tarfile.FIFOTYPE), "link or a device"),
    ],
)
def test_unpack__unsafe_member(tmp_path, unsafe, fault):
    archive = make_tar(tmp_path / "set.tar", unsafe, good=b"g")
    with pytest.raises(DataError, match=fault) as caught:
        bring(archive, tmp_path / "deep" / "set")
    assert str(archive) in str(caught.value) and repr(unsafe.name) in str(caught.value)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["set.tar"]


def damaged(folder: Path, how: str) -> Path:
    whole = make_tar(folder / "whole.tar", a=b"a" * 5000, b=bytes(range(256)) * 40).read_bytes()
    path = folder / f"{how.replace(' ', '_')}.tar"
    packed = gzip.compress(whole)
    zipped = make_zip(folder / "whole.zip", a=b"a" * 5000).read_bytes()
    path.write_bytes(
        {
            "empty": b"",
            "no tar": b"<html>404</html>" * 100,
            "cut within a header": whole[:300],
            "cut within a file": whole[:4000],
            "gzip cut": packed[: len(packed) // 2],
            "gzip altered": packed[:60] + bytes(20) + packed[80:],
            "zip cut": zipped[: len(zipped) // 2],
            "zip altered": zipped[:100] + b"!" + zipped[101:],
        }[how]
    )
    return path


@pytest.mark.parametrize(
    "how",
    [
        "empty",
        "no tar",
        "cut within a header",
        "cut within a file",
        "gzip cut",
        "gzip altered",
        "zip cut",
        "zip altered",
    ],
)
def test_unpack__damaged_archive(tmp_path, how):
    archive = damaged(tmp_path, how)
    out = tmp_path / "set"
    out.mkdir()
    (out / "kept").write_text("of an earlier run")
    with pytest.raises(DataError, match="not a tar or zip archive, or damaged") as caught:
        bring(archive, out)
    assert str(archive) in str(caught.value)
    assert everything_under(out) == {"kept": b"of an earlier run"}
    assert not list(tmp_path.glob(".*"))


def test_unpack__times_and_modes_are_those_of_now(tmp_path):
    loose = member("a")
    loose.mode, loose.mtime = 0o777, 0
    before = time.time() - 2
    unpack(make_tar(tmp_path / "set.tar", loose), tmp_path / "set")
    status = (tmp_path / "set" / "a").stat()
    assert status.st_mtime >= before
    assert not status.st_mode & 0o022, "writable by others"


def test_unpack__compressed(tmp_path):
    archive = tmp_path / "set.tar.gz"
    archive.write_bytes(gzip.compress(make_tar(tmp_path / "set.tar", a=b"a").read_bytes()))
    assert unpack(archive, tmp_path / "set") == 1
    assert everything_under(tmp_path / "set") == {"a": b"a"}


def test_unpack__zip(tmp_path):
    archive = make_zip(tmp_path / "set.zip", a=b"a", JPEGImages__b=b"b")
    assert unpack(archive, tmp_path / "set") == 2
    assert everything_under(tmp_path / "set") == {"a": b"a", "JPEGImages/b": b"b"}


@pytest.mark.parametrize(
    ("names", "fault"),
    [
        ({"../evil": b"e"}, "leave the folder"),
        ({"/etc/evil": b"e"}, "absolute"),
        ({"links": {"evil": "/etc/passwd"}}, "link or a device"),
    ],
)
def test_unpack__unsafe_member_of_a_zip(tmp_path, names, fault):
    archive = make_zip(tmp_path / "set.zip", **names)
    with pytest.raises(DataError, match=fault):
        bring(archive, tmp_path / "set")
    assert [path.name for path in tmp_path.rglob("*")] == ["set.zip"]


def test_contents__looks_at_nothing_unwanted(tmp_path):
    archive = make_tar(tmp_path / "set.tar", member("evil", tarfile.SYMTYPE, "/"), a=b"a", b=b"b")
    assert list(contents(archive, lambda name: name == "b")) == [("b", b"b")]
