"""Data sets as tar archives: proving that one is the right one, and unpacking it safely."""

from __future__ import annotations

import hashlib
import lzma
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from rca.data.images import DataError
from rca.files import new_folder


def check_digest(archive: Path, sha256: str) -> None:
    """Make sure that `archive` is the file that the configuration names.

    Raises:
        DataError: there is no such file, or its SHA-256 is another.
    """
    try:
        with archive.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(
            f"{archive}: cannot be read ({error.strerror}); fetch the archive, or correct "
            "download.archive"
        ) from None
    if found != sha256:
        raise DataError(
            f"{archive}: is not the archive that was asked for\n"
            f"  wanted SHA-256 {sha256}\n"
            f"  got    SHA-256 {found}\n"
            "  fetch it again; if this file is meant, set download.sha256 to what was got"
        )


def unpack(archive: Path, out: Path) -> int:
    """Unpack `archive` to the folder `out`, whole or not at all; how many files it held.

    Raises:
        DataError: no tar archive, a truncated one, or one that holds anything but files and
            folders inside `out`.
    """
    with _one_error(archive), tarfile.open(archive) as tar:
        members = tar.getmembers()
        for member in members:
            _refuse_unsafe(archive, member)
        with new_folder(out) as partial:
            for member in members:
                _unpack(tar, member, partial)
    return sum(member.isfile() for member in members)


def _refuse_unsafe(archive: Path, member: tarfile.TarInfo) -> None:
    path = PurePosixPath(member.name)
    if path.is_absolute():
        fault = "has an absolute path"
    elif ".." in path.parts:
        fault = "may leave the folder"
    elif not (member.isfile() or member.isdir()):
        fault = "is a link or a device"
    else:
        return
    raise DataError(
        f"{archive}: member {member.name!r} {fault}; nothing was unpacked. "
        "Pack the data set again, as plain files with relative names"
    )


def _unpack(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    """Write one member with the rights and time of a new file.

    Engines that compare times would take a data set of 1970 for stale.
    """
    target = folder / member.name
    if member.isdir():
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with tar.extractfile(member) as source, target.open("wb") as file:
        shutil.copyfileobj(source, file)


@contextmanager
def _one_error(archive: Path) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError) as error:
        # gzip and bz2 report damaged data as OSError without a number; a full disk has one.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DataError(
            f"{archive}: no tar archive, or a truncated one ({error}); fetch it again"
        ) from None
