"""Archives (tar, compressed or not, and zip), read safely.

Unsafe is a member whose name would leave the folder it is unpacked to, or that is no plain file.
"""

from __future__ import annotations

import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from rca.data.images import DataError

# What the readers of tar, gzip, bz2, xz and zip raise.
DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    OSError,
)


def contents(
    archive: Path, wanted: Callable[[str], bool] = lambda name: True
) -> Iterator[tuple[str, bytes]]:
    """Name and content of the `wanted` files of `archive`, in its order.

    One pass, so that a compressed tar is unpacked once; what is not wanted is not looked at.

    Raises:
        DataError: no archive, a truncated or damaged one, or an unsafe member among the wanted.
    """
    with _one_error(archive):
        with archive.open("rb") as file:
            zipped = file.read(2) == b"PK"
        yield from (_zip_contents if zipped else _tar_contents)(archive, wanted)


def unpack(archive: Path, folder: Path) -> int:
    """Write every file of `archive` under `folder`; how many there were.

    Files get the rights and time of new ones: engines that compare times would take a data set of
    1970 for stale.

    Raises:
        DataError: as `contents`; `folder` then holds a part.
    """
    count = 0
    for name, content in contents(archive):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        count += 1
    return count


def _tar_contents(archive: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(archive) as tar:
        for member in tar:
            name = PurePosixPath(member.name).as_posix()
            if member.isdir() or not wanted(name):
                continue
            _refuse_unsafe(archive, member.name, plain=member.isfile())
            file = tar.extractfile(member)
            assert file is not None  # it is a plain file
            with file:
                yield name, file.read()


def _zip_contents(archive: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(archive) as zipped:
        for member in zipped.infolist():
            name = PurePosixPath(member.filename).as_posix()
            if member.is_dir() or not wanted(name):
                continue
            kind = stat.S_IFMT(member.external_attr >> 16)  # 0 where the packer was no Unix
            _refuse_unsafe(archive, member.filename, plain=kind in (0, stat.S_IFREG))
            yield name, zipped.read(member)


def _refuse_unsafe(archive: Path, name: str, *, plain: bool) -> None:
    path = PurePosixPath(name)
    if path.is_absolute():
        fault = "has an absolute path"
    elif ".." in path.parts:
        fault = "may leave the folder"
    elif not plain:
        fault = "is a link or a device"
    else:
        return
    raise DataError(
        f"{archive}: member {name!r} {fault}; nothing of it is kept. "
        "Pack the data set again, as plain files with relative names"
    )


@contextmanager
def _one_error(archive: Path) -> Iterator[None]:
    try:
        yield
    except DAMAGED as error:
        # gzip and bz2 report damaged data as OSError without a number; a full disk has one.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DataError(
            f"{archive}: not a tar or zip archive, or damaged ({error}); fetch it again"
        ) from None
