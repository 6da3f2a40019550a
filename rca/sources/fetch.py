"""Downloads of registered files: from mirrors in turn, resumable, and verified by checksum.

Bytes go to `<name>.part`, which survives a failure and is resumed by HTTP Range, also by a later
run and from another mirror. Only a file with the right SHA-256 gets its final name. (pooch 1.9,
the usual library for this, restarts a broken transfer from the beginning.)
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import time
from pathlib import Path

import requests

from rca.data.checksums import sha256_of
from rca.data.images import DataError
from rca.runtime.progress import byte_progress
from rca.sources.remote_files import RemoteFile

log = logging.getLogger(__name__)

ATTEMPTS = 4  # in a row at one mirror, none of which brought new bytes
BACKOFF = 1.0  # seconds before the second attempt; doubles with each attempt
LONGEST_WAIT = 60.0  # seconds, whatever a server asks for
TIMEOUT = (10.0, 60.0)  # seconds to connect, and between bytes
CHUNK = 1 << 16  # bytes; a broken connection loses the last chunk
TRY_AGAIN = {408, 429, 500, 502, 503, 504}


class _Broken(Exception):
    """A transfer that stopped early; the bytes received so far are good.

    Attributes:
        wait: The seconds that the server asks to wait.
    """

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class _Refused(Exception):
    """A mirror that does not have the file."""


def fetch(file: RemoteFile, folder: Path, have: Path | None = None) -> Path:
    """Return the path of `file`, verified: in `have`, in `folder`, or now fetched to `folder`.

    Raises:
        DataError: `have` is not a folder; a file of that name is there but has another checksum;
            the disk is too full; or no mirror gave the file.
    """
    if have is not None and not have.is_dir():
        raise DataError(f"{have}: no such folder; correct download.have, or set it to null")
    for place in (have, folder):
        if place is not None and (place / file.name).exists():
            _check(place / file.name, file)
            return place / file.name
    target, part = folder / file.name, folder / f"{file.name}.part"
    folder.mkdir(parents=True, exist_ok=True)
    _check_room(part, file)
    reasons = []
    with requests.Session() as session:
        # Compression in transit would make sizes and ranges meaningless.
        session.headers["Accept-Encoding"] = "identity"
        for url in file.mirrors:
            try:
                _bring(session, url, file, part)
            except (_Refused, _Broken) as error:
                reasons.append(f"  {url}: {error}")
                log.warning("%s: %s", url, error)
            else:
                os.replace(part, target)
                return target
    raise DataError(_nowhere(file, folder, reasons))


def _check(path: Path, file: RemoteFile) -> None:
    log.info("%s: is there; checking its SHA-256", path)
    found = sha256_of(path)
    if found != file.sha256:
        raise DataError(
            f"{path}: is not the file of this name that is wanted\n"
            f"  wanted SHA-256 {file.sha256}, {file.size} bytes\n"
            f"  got    SHA-256 {found}, {path.stat().st_size} bytes\n"
            "  remove or rename it, and it will be fetched"
        )


def _check_room(part: Path, file: RemoteFile) -> None:
    missing = file.size - _size(part)
    free = shutil.disk_usage(part.parent).free
    if missing > free:
        raise DataError(
            f"{part.parent}: {missing / 1e9:.1f} GB of {file.name} are to come, but only "
            f"{free / 1e9:.1f} GB are free; make room, or set download.have to where the file is"
        )


def _nowhere(file: RemoteFile, folder: Path, reasons: list[str]) -> str:
    return "\n".join(
        [
            f"{file.name}: no mirror gave the right file",
            *reasons,
            f"  run again to go on where the transfer broke, or put the file ({file.size} bytes, "
            f"SHA-256 {file.sha256}) into {folder} or the folder of download.have yourself",
        ]
    )


def _bring(session: requests.Session, url: str, file: RemoteFile, part: Path) -> None:
    """Complete `part` from `url` and verify it; restart once if it began with earlier bytes."""
    inherited = _size(part) > 0
    _complete(session, url, file, part)
    if sha256_of(part) == file.sha256:
        return
    part.unlink()
    if inherited:  # the wrong bytes may have come from another mirror
        log.warning("%s: SHA-256 mismatch; downloading it again from the beginning", url)
        _complete(session, url, file, part)
        if sha256_of(part) == file.sha256:
            return
        part.unlink()
    raise _Refused("has another file of that name (its SHA-256 is wrong)")


def _complete(session: requests.Session, url: str, file: RemoteFile, part: Path) -> None:
    """Append to `part` until it has the file's size; give up after `ATTEMPTS` without progress."""
    most, attempts = _size(part), 0
    while _size(part) != file.size:
        try:
            _transfer(session, url, file, part)
        except _Broken as error:
            attempts = 1 if _size(part) > most else attempts + 1
            most = max(most, _size(part))
            if attempts == ATTEMPTS:
                raise
            wait = min(max(BACKOFF * 2 ** (attempts - 1), error.wait), LONGEST_WAIT)
            log.warning("%s: %s; again in %g s", url, error, wait)
            time.sleep(wait)


def _transfer(session: requests.Session, url: str, file: RemoteFile, part: Path) -> None:
    """Send one request for the bytes that `part` lacks."""
    start = _size(part)
    if start > file.size:
        part.unlink()
        start = 0
    try:
        headers = {"Range": f"bytes={start}-"} if start else {}
        with session.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
            _append(answer, _first_byte(answer, start, file), file, part)
    except requests.RequestException as error:
        raise _Broken(f"connection failed ({_root(error)})") from None
    if _size(part) < file.size:
        raise _Broken(f"ended at {_size(part)} of {file.size} bytes")


def _first_byte(answer: requests.Response, start: int, file: RemoteFile) -> int:
    """Return the offset of the answer's body: `start`, or 0 if the server ignores ranges."""
    if answer.status_code in TRY_AGAIN:
        after = answer.headers.get("Retry-After", "")
        raise _Broken(f"answered {answer.status_code}", float(after) if after.isdigit() else 0.0)
    if answer.status_code not in (200, 206):
        raise _Refused(f"answered {answer.status_code}")
    if answer.headers.get("Content-Type", "").startswith("text/html"):
        raise _Refused("answered with a web page")
    if answer.status_code == 200:
        start, total = 0, answer.headers.get("Content-Length", "*")
    else:
        sent = answer.headers.get("Content-Range", "")
        span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", sent)
        if not span or int(span[1]) != start:
            raise _Refused(f"sent another part than asked for ({sent or 'not said which'})")
        total = span[2]
    if total not in ("*", str(file.size)):
        raise _Refused(f"has {total} bytes under that name, wanted {file.size}")
    return start


def _append(answer: requests.Response, start: int, file: RemoteFile, part: Path) -> None:
    with part.open("r+b" if start else "wb") as out:
        out.seek(start)
        for chunk in byte_progress(answer.iter_content(CHUNK), start, file.size, file.name):
            if out.tell() + len(chunk) > file.size:
                out.truncate(0)
                raise _Refused(f"sends more than the {file.size} bytes of the file")
            out.write(chunk)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _root(error: BaseException) -> str:
    """Return the innermost message; that of requests repeats the address three times."""
    while error.__context__ is not None:
        error = error.__context__
    return str(error) or type(error).__name__
