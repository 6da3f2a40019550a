"""Safe reading of archives: tar, compressed or not, and zip.

A member is unsafe if its name would lead out of the target folder, or if it is not a regular file.
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

# Raised by the readers of tar, gzip, bz2, xz and zip.
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
    """Yield the name and content of the `wanted` files of `archive`, in its order.

    One pass reads all, so that a compressed tar is decompressed once. Members that are not wanted
    are not checked.

    Raises:
        DataError: The file is not an archive, is truncated or damaged, or has an unsafe member
            among the wanted ones.
    """
    with _one_error(archive):
        with archive.open("rb") as file:
            zipped = file.read(2) == b"PK"
        yield from (_zip_contents if zipped else _tar_contents)(archive, wanted)


def unpack(archive: Path, folder: Path) -> int:
    """Write every file of `archive` under `folder`; return how many there were.

    Files get the permissions and modification time of new ones: engines that compare times would
    consider a data set from 1970 stale.

    Raises:
        DataError: The archive cannot be read or is unsafe, as for `contents`; `folder` then holds
            a part of it.
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
            assert file is not None  # it is a regular file
            with file:
                yield name, file.read()


def _zip_contents(archive: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(archive) as zipped:
        for member in zipped.infolist():
            name = PurePosixPath(member.filename).as_posix()
            if member.is_dir() or not wanted(name):
                continue
            kind = stat.S_IFMT(member.external_attr >> 16)  # 0 if not packed on Unix
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
        # gzip and bz2 report damaged data as OSError without an errno; a full disk sets one.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DataError(
            f"{archive}: not a tar or zip archive, or damaged ({error}); fetch it again"
        ) from None
