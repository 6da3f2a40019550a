"""Ways to damage a file, as disks, transfers and people do."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

WEB_PAGE = b"<!DOCTYPE html><html><body>404 Not Found</body></html>\n"
BLOCK = 4096  # bytes that a disk loses at once


def _truncated(content: bytes, draws: random.Random) -> bytes:
    return content[: draws.randrange(1, max(len(content), 2))]


def _empty(content: bytes, draws: random.Random) -> bytes:
    return b""


def _flip(content: bytes, place: int, draws: random.Random) -> bytes:
    changed = bytearray(content)
    changed[place] ^= 1 << draws.randrange(8)
    return bytes(changed)


def _bit_anywhere(content: bytes, draws: random.Random) -> bytes:
    return _flip(content, draws.randrange(len(content)), draws)


def _bit_in_header(content: bytes, draws: random.Random) -> bytes:
    return _flip(content, draws.randrange(min(len(content), 64)), draws)


def _zeros(content: bytes, draws: random.Random) -> bytes:
    start = draws.randrange(len(content))
    lost = len(content[start : start + BLOCK])
    return content[:start] + bytes(lost) + content[start + lost :]


def _noise(content: bytes, draws: random.Random) -> bytes:
    return draws.randbytes(len(content))


def _web_page(content: bytes, draws: random.Random) -> bytes:
    return WEB_PAGE


WAYS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "cut short": _truncated,
    "emptied": _empty,
    "bit flipped": _bit_anywhere,
    "bit flipped at its start": _bit_in_header,
    "block of zeros": _zeros,
    "noise": _noise,
    "a web page": _web_page,
}


def damage(file: Path, way: str, draws: random.Random) -> None:
    """Replace `file` by a damaged copy; other hard links to the file keep their content."""
    content = file.read_bytes()
    changed = WAYS[way](content, draws) if content else b"\0"
    file.unlink()
    file.write_bytes(changed)
