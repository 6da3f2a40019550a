# ruff: noqa: E501 (a table)
"""Damaged and odd folders of photographs: what is read of each, or the one line that is said.

`python tests/sources/test_odd_folders.py` prints the table of which docs/tutorials/own_photographs.md holds the
essence. Each case starts from six photographs, three of `cat` and three of `dog`, and spoils them.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rca.checks.findings import SKIPPED
from rca.config import FolderSource, IndexSection
from rca.data.images import DataError
from rca.data.index import read_index
from rca.sources.folder import lay_out
from rca.stages import index

Spoil = Callable[[Path], object]
NAMES = [f"{tag} {number}.jpg" for tag in ("cat", "dog") for number in range(3)]


def pixels(seed: int, size: tuple[int, int] = (24, 16), channels: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size[::-1], channels), np.uint8)


def save(path: Path, seed: int = 77, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(seed)).save(path, **options)


def rows(**changes: str) -> str:
    """The table of the six photographs; `cat_0="…"` changes the cell of tags of `cat 0.jpg`."""
    cells = {name: changes.get(Path(name).stem.replace(" ", "_"), name[:3]) for name in NAMES}
    return "image,tags\n" + "".join(f"{name},{cell}\n" for name, cell in cells.items())


def six(root: Path) -> None:
    """The six photographs with a table."""
    for seed, name in enumerate(NAMES):
        save(root / name, seed)
    (root / "tags.csv").write_text(rows())


def table(text: str | bytes) -> Spoil:
    content = text.encode() if isinstance(text, str) else text
    return lambda root: (root / "tags.csv").write_bytes(content)


def replaced(old: str, new: str, encoding: str = "utf-8") -> Spoil:
    return lambda root: (root / "tags.csv").write_bytes(rows().replace(old, new).encode(encoding))


def content(name: str, data: bytes) -> Spoil:
    return lambda root: (root / name).write_bytes(data)


def cut(name: str, share: float) -> Spoil:
    def spoil(root: Path) -> None:
        data = (root / name).read_bytes()
        (root / name).write_bytes(data[: int(share * len(data))])

    return spoil


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format=kind, **options)
    return stream.getvalue()


def as_image(kind: str, mode: str = "RGB", name: str = "cat 0.jpg", **options: object) -> Spoil:
    def spoil(root: Path) -> None:
        image = Image.fromarray(pixels(0)).convert(mode)
        (root / name).write_bytes(encoded(image, kind, **options))

    return spoil


def heic(root: Path) -> None:
    from pillow_heif import register_heif_opener

    register_heif_opener()
    as_image("HEIF")(root)


def sorted_into(*folders: str, loose: int = 0) -> Spoil:
    """No table; the photographs one after the other in the folders, the first `loose` in none."""

    def spoil(root: Path) -> None:
        (root / "tags.csv").unlink()
        for place, name in enumerate(NAMES):
            if place >= loose:
                folder = root / folders[place % len(folders)]
                folder.mkdir(parents=True, exist_ok=True)
                (root / name).rename(folder / name)

    return spoil


def masks(*names: str, classes: str | None = "classes.txt", value: int = 1) -> Spoil:
    def spoil(root: Path) -> None:
        for name in names:
            path = root / "masks" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((16, 24), value, np.uint8)).save(path)
        if classes:
            (root / classes).write_text("cat\ndog\n")

    return spoil


def both(*spoils: Spoil) -> Spoil:
    def spoil(root: Path) -> None:
        for one in spoils:
            one(root)

    return spoil


def linked(root: Path) -> None:
    (root / "cat 0.jpg").unlink()
    (root / "cat 0.jpg").symlink_to(root / "gone.jpg")


def folder_as_photograph(root: Path) -> None:
    (root / "cat 0.jpg").unlink()
    (root / "cat 0.jpg").mkdir()


def loop(root: Path) -> None:
    (root / "again").symlink_to(root, target_is_directory=True)


def elsewhere(root: Path) -> None:
    """A row with a path out of the folder, to a photograph that is there."""
    save(root.parent / "secret.jpg")
    table(rows() + "../secret.jpg,cat\n")(root)


def not_utf8(root: Path) -> None:
    sorted_into("cat", "dog")(root)
    save(root / "cat" / "x.jpg")
    os.rename(os.fsencode(root / "cat/x.jpg"), os.fsencode(root / "cat") + b"/\xff.jpg")


def twice(root: Path) -> None:
    shutil.copy(root / "cat 0.jpg", root / "copy.jpg")
    table(rows() + "copy.jpg,dog\n")(root)


def accents(root: Path) -> None:
    """A file named as macOS composes accents, a row as others do."""
    (root / "cat 0.jpg").rename(root / "e\u0301te\u0301.jpg")
    replaced("cat 0.jpg", "\u00e9t\u00e9.jpg")(root)


def split(*splits: str) -> Spoil:
    lines = [f"{name},{name[:3]},{kind}" for name, kind in zip(NAMES, splits, strict=True)]
    return table("\n".join(["image,tags,split", *lines]))


def append(root: Path, row: str) -> None:
    path = root / "tags.csv"
    path.write_text(f"{path.read_text().rstrip()}\n{row}\n")


def bomb(root: Path) -> None:
    """A PNG of a few bytes that says it has 400 megapixels."""
    data = bytearray((root / "cat 0.jpg").read_bytes())
    data[16:24] = (20000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    (root / "cat 0.jpg").write_bytes(data)


TURNED = Image.Exif()
TURNED[0x0112] = 6

# Name of the case, what is done, what is said or read. `OK` begins what is read: the number of
# images and the classes, then what else is said.
CASES: list[tuple[str, Spoil, str]] = [
    # Tables, as people and programs write them
    ("as it should be", lambda root: None, "OK 6: cat dog"),
    ("names without suffix", replaced(".jpg", ""), "OK 6: cat dog"),
    ("names in capitals", replaced("cat 0.jpg", "CAT 0.JPG"), "OK 6: cat dog"),
    ("another suffix in the table", replaced("cat 0.jpg", "cat 0.png"), "OK 6: cat dog"),
    ("paths of another computer", replaced("cat 0", "C:\\photos\\cat 0"), "OK 6: cat dog"),
    ("`;` between the columns", replaced(",", ";"), "OK 6: cat dog"),
    ("tabs between the columns", replaced(",", "\t"), "OK 6: cat dog"),
    ("Excel's first line `sep=;`", table("sep=;\r\n" + rows().replace(",", ";")), "OK 6: cat dog"),
    ("a byte-order mark", table(b"\xef\xbb\xbf" + rows().encode()), "OK 6: cat dog"),
    ("UTF-16 with tabs", replaced(",", "\t", "utf-16"), "OK 6: cat dog | was read as UTF-16"),
    (
        "Windows-1252",
        table(rows(cat_0="cat chaton_café").encode("cp1252")),
        "OK 6: cat chaton_café dog | was read as Windows-1252 | 'chaton_café' is in a single",
    ),
    ("lines that end in CR alone", replaced("\n", "\r"), "OK 6: cat dog"),
    ("columns in capitals", replaced("image,tags", " Image , TAGS"), "OK 6: cat dog"),
    ("empty rows of a spreadsheet", table(rows() + ",\n,\n\n"), "OK 6: cat dog"),
    ("tags in cells of their own", replaced("cat 0.jpg,cat", "cat 0.jpg,cat,dog"), "OK 6: cat dog"),
    ("a row for each tag", table(rows() + "cat 0.jpg,dog\n"), "OK 6: cat dog"),
    ("a tag with spaces", replaced(",cat\n", ",big cat;\n"), "OK 6: big_cat dog"),
    ("a tag with an invisible sign", replaced("0.jpg,cat", "0.jpg,cat\u200b"), "OK 6: cat dog"),
    ("accents composed otherwise", accents, "OK 6: cat dog"),
    ("an untagged photograph", table(rows(cat_0="")), "OK 5: cat dog"),
    ("columns of other names", replaced("image,tags", "imag,label"), "has no column image and tags"),
    ("no first line", replaced("image,tags\n", ""), "has no column image and tags but cat 0.jpg"),
    ("no rows", table("image,tags\n"), "has no rows"),
    ("empty", table(""), "is empty"),
    ("a workbook called CSV", table(b"PK\x03\x04 rest"), "is a workbook, not CSV"),
    ("binary data", table(b"image,tags\n\x00\x01"), "holds binary data"),
    ("no encoding at all", table(b"image,tags\n\x81\x8d,cat"), "neither UTF-8 nor Windows"),
    ("a list as Python prints it", replaced(",cat\n", ",['cat']\n"), "as a program prints a list"),
    ("a row without an image", table(rows() + ",dog\n"), "line 8 names no image"),
    ("a row without a photograph", table(rows() + "cat 9,cat\n"), "cat 9: the folder holds no such"),
    ("a path out of the folder", elsewhere, "../secret.jpg: the folder holds no such photograph"),
    ("a photograph without a row", lambda r: save(r / "new.jpg"), "new.jpg: has no row in tags.csv"),
    (
        "a row for one of two",
        both(lambda r: save(r / "cat 0.png"), replaced("cat 0.jpg", "cat 0")),
        "cat 0 may be cat 0.jpg and cat 0.png; write the whole path",
    ),
    ("a workbook alone", lambda r: (r / "tags.csv").rename(r / "tags.xlsx"), "but no tags.csv"),
    ("the table's suffix doubled", lambda r: (r / "tags.csv").rename(r / "tags.csv.txt"), "tags.csv"),
    ("a split of another name", split(*["train"] * 5, "valid"), "must have train, val, test"),
    ("splits for some rows", split(*["train"] * 5, ""), "some rows have a split and some have none"),
    ("splits in capitals", split(*["Train"] * 4, "VAL", "val"), "OK 6: cat dog"),
    ("nothing for validation", split(*["train"] * 6), "of 6 photographs none is for val"),
    (
        "a photograph in two splits",
        both(split(*["train"] * 4, "val", "val"), lambda r: append(r, "cat 0.jpg,cat,val")),
        "cat 0.jpg: is in train and in val",
    ),
    # Classes
    ("a misspelt tag", table(rows(cat_0="cat horse", cat_1="horse", dog_0="hosre")), "OK 6: "
     "cat dog horse hosre | 'hosre' (1) and 'horse' (2) look alike | 'hosre' is in a single | 'horse' is in no photograph of train"),
    ("capitals", table(rows(cat_0="Cat")), "OK 6: Cat cat dog | 'Cat' (1) and 'cat' (2) differ in | 'Cat' is in a single"),
    ("a class called background", table(rows(cat_0="background")), "'background' is reserved"),
    ("`none` for no tag", table(rows(cat_0="none")), "'none' is reserved"),
    ("no tag at all", table("image,tags\n" + "".join(f"{n},\n" for n in NAMES)), "no photograph has a tag"),
    # Folders
    ("a folder for each class", sorted_into("cat", "dog"), "OK 6: cat dog"),
    ("folders within splits", sorted_into("train/cat", "Train/dog", "val/cat"), "OK 6: cat dog"),
    ("loose photographs", sorted_into("cat", loose=6), "nothing says what is in its 6 photographs"),
    ("some loose", sorted_into("cat", "dog", loose=1), "cat 0.jpg: lies in no class's folder"),
    ("a folder called void", sorted_into("cat", "void"), "'void' is reserved"),
    ("`;` in a folder's name", sorted_into("cat", "a;b"), "'a;b' holds a `;`"),
    ("copies with two tags", twice, "OK 6: cat dog"),
    ("a link back to the folder", loop, "OK 6: cat dog"),
    ("a name not in UTF-8", not_utf8, "has a name that is not in UTF-8"),
    ("a very long path", both(sorted_into("cat", "dog"), lambda r: save(r / "cat" / ("a" * 150) / ("b" * 150 + ".jpg"))), "at most 200 are stored"),
    ("two files of one name", both(sorted_into("cat", "dog"), lambda r: save(r / "cat" / "cat_0.jpg")), "would both be named cat_cat_0"),
    ("notes of macOS beside", content("._cat 0.jpg", b"\0\5\x16\7"), "OK 6: cat dog"),
    ("an archive", lambda r: (shutil.rmtree(r), r.write_bytes(b"PK")), "is a file; unpack it"),
    ("no folder", shutil.rmtree, "no such folder"),
    ("an empty folder", lambda r: (shutil.rmtree(r), r.mkdir()), "holds no photograph"),
    # Photographs
    ("CMYK", as_image("JPEG", "CMYK"), "OK 6: cat dog"),
    ("grey", as_image("JPEG", "L"), "OK 6: cat dog"),
    ("turned by EXIF", as_image("JPEG", exif=TURNED), "OK 6: cat dog"),
    ("PNG called JPEG", as_image("PNG", "RGBA"), "OK 6: cat dog"),
    ("GIF called JPEG", as_image("GIF", "P"), "OK 6: cat dog"),
    ("TIFF called JPEG", as_image("TIFF"), "OK 6: cat dog"),
    ("WebP called JPEG", as_image("WEBP"), "OK 6: cat dog"),
    ("AVIF called JPEG", as_image("AVIF"), "OK 6: cat dog"),
    ("HEIC called JPEG", heic, "OK 6: cat dog"),
    ("LAB", as_image("TIFF", "LAB"), "OK 6: cat dog"),
    ("floating-point values", as_image("TIFF", "F"), "cat 0.jpg: holds floating-point values"),
    ("empty file", content("cat 0.jpg", b""), "cat 0.jpg: cannot be decoded (it is empty)"),
    ("cut short", cut("cat 0.jpg", 0.9), "cat 0.jpg: cannot be decoded (image file is truncated"),
    ("a web page", content("cat 0.jpg", b"<!DOCTYPE html>"), "(it is a web page)"),
    ("a pointer of Git LFS", content("cat 0.jpg", b"version https://git-lfs"), "(it is a pointer"),
    ("noise", content("cat 0.jpg", pixels(5).tobytes()), "no image format is known that begins so"),
    ("a raw photograph", lambda r: (r / "x.CR2").write_bytes(b"II*"), "format that is not read, .CR2"),
    ("a link to nothing", linked, "cat 0.jpg: is a link to nothing"),
    ("a folder called like one", folder_as_photograph, "cat 0.jpg: the folder holds no such"),
    ("400 megapixels", both(as_image("PNG"), bomb), "(it has more than 178 megapixels)"),
    # Masks
    ("masks for some", masks("cat 0.png"), "OK 6: cat dog | has no mask, others in"),
    ("names of classes in masks/", masks("cat 0.png", classes="masks/classes.txt"), "OK 6: cat dog | has no mask"),
    ("no names of classes", masks("cat 0.png", classes=None), "its line v names the class of mask"),
    ("a folder called Masks", both(masks("cat 0.png"), lambda r: (r / "masks").rename(r / "Masks")), "OK 6: cat dog | has no mask"),
    ("a mask of no photograph", masks("cat 0.png", "rat.png"), "OK 6: cat dog | belongs to no photograph | has no mask"),
    ("masks as JPEG", masks("cat 0.jpg"), "OK 6: cat dog | is no PNG"),
    ("an unknown value", masks("cat 0.png", value=7), "holds [7]; known are 0 to 2, and 255"),
    ("a mask cut short", both(masks("cat 0.png"), cut("masks/cat 0.png", 0.5)), "masks/cat 0.png: cannot be decoded"),
    ("a tag that is not in classes.txt", both(masks("cat 0.png"), table(rows(cat_0="cats"))), "the tag 'cats' (1) is not in classes.txt; is it 'cat'?"),
]  # fmt: skip


def outcome(root: Path, tolerated: set[str] | frozenset[str] = frozenset()) -> list[str]:
    """What is said of the folder: an error in one piece, or what was read and each finding."""
    out = root.parent / "out" / "mine"
    cfg = FolderSource(source="folder", name="mine", folder=root, val_share=0.34)
    try:
        findings, _ = lay_out(cfg, out, tolerated=tolerated)
        index.run(IndexSection(), data=out, out=root.parent / "index")
    except DataError as error:
        return [str(error)]
    found = read_index(root.parent / "index")
    masked = any(record.mask for record in found.records)
    lacking = masked and any(record.mask is None for record in found.records)
    said = [finding.what for finding in findings]
    return [
        f"OK {len(found.records)}: {' '.join(found.classes)}",
        *said,
        *["has no mask, others in"] * lacking,
    ]


@pytest.mark.parametrize(("spoil", "said"), [case[1:] for case in CASES], ids=[c[0] for c in CASES])
def test_folder__is_read_or_refused_in_words(tmp_path, spoil, said):
    root = tmp_path / "photographs"
    six(root)
    spoil(root)

    lines = outcome(root)

    if said.startswith("OK"):
        for part in said.split(" | "):
            assert any(line.startswith(part) or part in line for line in lines), lines
        assert len(lines) == len(said.split(" | ")), lines
    else:
        assert said in lines[0]
        assert not (tmp_path / "index").exists()


@pytest.mark.parametrize(
    ("spoil", "images", "named"),
    [
        (content("cat 0.jpg", b""), 5, ["cat 0.jpg,cannot be decoded (it is empty)"]),
        (lambda root: save(root / "new.jpg"), 6, ["new.jpg,has no row in tags.csv"]),
        (table(rows() + "cat 9,cat\n"), 6, ["tags.csv,line 8: cat 9"]),
        (both(masks("cat 0.png"), cut("masks/cat 0.png", 0.5)), 6, ["masks/cat 0.png,cannot be"]),
        (
            both(lambda root: save(root / "new.jpg"), cut("dog 2.jpg", 0.5)),
            5,
            ["new.jpg,has no row", "dog 2.jpg,cannot be decoded"],
        ),
    ],
)
def test_skip__leaves_out_and_lists_what_it_left_out(tmp_path, spoil, images, named):
    root = tmp_path / "photographs"
    six(root)
    spoil(root)
    before = sorted(root.rglob("*"))

    assert outcome(root, SKIPPED)[0] == f"OK {images}: cat dog"
    listed = (tmp_path / "out/mine/skipped.csv").read_text().splitlines()[1:]
    assert len(listed) == len(named)
    assert all(part in line for part, line in zip(named, listed, strict=True)), listed
    assert sorted(root.rglob("*")) == before, "the user's folder is as it was"


def test_skip__of_a_mask_keeps_the_photograph_without_it(tmp_path):
    root = tmp_path / "photographs"
    six(root)
    both(masks("cat 0.png", "dog 0.png"), cut("masks/cat 0.png", 0.5))(root)

    outcome(root, SKIPPED)

    masked = [record.image for record in read_index(tmp_path / "index").records if record.mask]
    assert masked == ["dog_0"]


def test_skip__excuses_no_mistake_in_the_tags(tmp_path):
    root = tmp_path / "photographs"
    six(root)
    table(rows(cat_0="background"))(root)
    assert "'background' is reserved" in outcome(root, SKIPPED)[0]


def main() -> None:
    """Print the table."""
    for name, spoil, _ in CASES:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder) / "photographs"
            six(root)
            spoil(root)
            said = " | ".join(outcome(root)).replace(f"{root.parent}/", "")
            sys.stdout.write(f"{name:34} {' '.join(said.split())}\n")


if __name__ == "__main__":
    sys.exit(main())
