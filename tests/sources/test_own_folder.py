"""Source `folder`: a user's own photographs, with a table or one sub-folder for each class."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image, ImageCms, ImageOps
from typer.testing import CliRunner

from rca import cli
from rca.checks.inspection import ImageFiles, inspect
from rca.config import FolderSource, IndexSection, Params, load
from rca.config.section import ConfigError
from rca.data.images import DataError
from rca.data.index import read_index
from rca.stages import download, index

ROOT = Path(__file__).parents[2]


def photograph(path: Path, seed: int, size: tuple[int, int] = (8, 6), **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draws = np.random.default_rng(seed)
    Image.fromarray(draws.integers(0, 256, (*size[::-1], 3), np.uint8)).save(path, **options)


@pytest.fixture
def own(tmp_path) -> Path:
    """Ten photographs: five cats, five dogs, one of which is with a cat too."""
    root = tmp_path / "my photographs"
    rows = ["image,tags"]
    for number in range(10):
        name = f"day {number % 2}/IMG {number}.JPG"
        photograph(root / name, number, format="JPEG")
        rows.append(f"{name},{'cat' if number < 5 else 'dog;cat' if number == 9 else 'dog'}")
    (root / "tags.csv").write_text("\n".join(rows) + "\n")
    return root


def bring(root: Path, **options) -> Path:
    out = root.parent / "data" / "mine"
    download.run(FolderSource(source="folder", name="mine", folder=root, **options), out=out)
    return out


def lists(out: Path) -> dict[str, list[str]]:
    return {path.stem: path.read_text().split() for path in out.glob("ImageSets/*/*.txt")}


def tags(out: Path) -> dict[str, str]:
    rows = (line.split(",") for line in (out / "tags.csv").read_text().splitlines()[1:])
    return {image: names for image, _, names in rows}


def refusal(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        bring(root)
    assert not (root.parent / "data" / "mine").exists()
    return str(caught.value)


def test_bring__a_table(own):
    out = bring(own)

    assert (out / "classes.txt").read_text() == "cat\ndog\n"
    assert tags(out)["day_0_IMG_0"] == "cat"
    assert tags(out)["day_1_IMG_9"] == "dog cat"
    assert "day_1_IMG_9,day 1/IMG 9.JPG" in (out / "files.csv").read_text().splitlines()
    linked = out / "JPEGImages/day_1_IMG_9.jpg"
    assert linked.samefile(own / "day 1/IMG 9.JPG"), "linked, not copied"


def test_bring__a_seeded_share_is_for_validation_with_classes_in_proportion(own):
    first, again, other = bring(own), None, None
    found = lists(first)
    again = lists(bring(own))
    other = lists(bring(own, val_seed=1))
    half = lists(bring(own, val_share=0.5))

    assert sorted(found["train"] + found["val"]) == sorted(tags(first))
    assert len(found["val"]) == 2 and found == again != other
    assert len(half["val"]) == 5
    kinds = Counter(tags(first)[image] for image in half["val"])
    assert 2 <= kinds["cat"] <= 3


def test_bring__splits_of_the_table(own):
    table = (own / "tags.csv").read_text().splitlines()
    splits = ["split", *["train"] * 7, *["val"] * 2, "test"]
    rows = [f"{row},{split}" for row, split in zip(table, splits, strict=True)]
    (own / "tags.csv").write_text("\n".join(rows))

    assert {name: len(images) for name, images in lists(bring(own)).items()} == {
        "train": 7, "val": 2, "test": 1,
    }  # fmt: skip


def test_bring__one_folder_for_each_class_and_copies_in_two(own):
    root = own.parent / "sorted"
    for number, name in enumerate(
        ["big cat/a.png", "big cat/b.jpg", "dog/a.jpg", "dog/deep/c.jpg"]
    ):
        photograph(root / name, number)
    shutil.copy(root / "big cat/b.jpg", root / "dog/also.jpg")
    (root / "dog/Thumbs.db").write_bytes(b"no photograph")

    assert tags(bring(root)) == {
        "big_cat_a": "big_cat", "big_cat_b": "big_cat dog", "dog_a": "dog", "dog_deep_c": "dog",
    }  # fmt: skip


def test_bring__one_folder_for_each_class_within_splits(own):
    root = own.parent / "sorted"
    for number, name in enumerate(["train/cat/a.jpg", "train/dog/b.jpg", "val/cat/c.jpg"]):
        photograph(root / name, number)
    out = bring(root)
    assert lists(out) == {"train": ["train_cat_a", "train_dog_b"], "val": ["val_cat_c"]}
    assert tags(out)["val_cat_c"] == "cat"


@pytest.mark.parametrize("cell", ["golden retriever;cat", "cat , golden retriever"])
def test_bring__tags_with_spaces(own, cell):
    text = (own / "tags.csv").read_text().replace(";", " ").splitlines()
    text[1] = f'day 0/IMG 0.JPG,"{cell}"'
    (own / "tags.csv").write_text("\n".join(text).replace("dog cat", "dog"))
    assert set(tags(bring(own))["day_0_IMG_0"].split()) == {"cat", "golden_retriever"}


def turned_by_exif(own: Path, orientation: int, mask_size: tuple[int, int]) -> None:
    """A photograph with one bright quarter, and a mask of it as it is stored, or as it is shown."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.zeros((32, 48, 3), np.uint8)
    stored[:16, :24] = 255
    image = Image.fromarray(stored)
    image.save(own / "day 0/IMG 0.JPG", format="JPEG", quality=95, exif=exif)
    if mask_size != image.size:
        image.getexif()[0x0112] = orientation
        image = ImageOps.exif_transpose(image)
    marks = Image.fromarray(np.array(image)[..., 0] // 255)
    marks.putpalette([0, 0, 0, 128, 0, 0])
    (own / "masks/day 0").mkdir(parents=True)
    marks.save(own / "masks/day 0/IMG 0.png")
    (own / "classes.txt").write_text("cat\ndog\n")


@pytest.mark.parametrize("drawn_on", [(48, 32), (32, 48)])
@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_bring__turns_as_exif_asks_and_the_mask_with_it(own, orientation, drawn_on):
    turned_by_exif(own, orientation, drawn_on)
    out = bring(own)

    with Image.open(out / "JPEGImages/day_0_IMG_0.jpg") as image:
        assert image.size == (32, 48) and image.getexif().get(0x0112, 1) == 1
        bright = np.array(image)[..., 0] > 128
    mask = np.array(Image.open(out / "SegmentationClassAug/day_0_IMG_0.png"))
    assert mask.shape == (48, 32)
    corner = {5: (0, 0), 6: (0, -1), 7: (-1, -1), 8: (-1, 0)}[orientation]
    assert bright[corner] and mask[corner] == 1
    assert (bright == (mask == 1)).mean() > 0.99 and bright.mean() == 0.25


def test_bring__refuses_a_mask_whose_size_does_not_tell_what_it_was_drawn_on(own):
    turned_by_exif(own, 3, (48, 32))
    assert "masks/day 0/IMG 0.png: may be drawn on the photograph as it is stored" in refusal(own)


def test_bring__other_kinds_of_image_become_rgb_jpeg(own):
    rows = ["image,tags"]
    half = Image.new("RGBA", (8, 6), (255, 0, 0, 0))
    sixteen = Image.fromarray(np.full((6, 8), 128 * 256, np.uint16))
    made = {
        "clear.png": (half, (255, 255, 255)),
        "grey.png": (Image.new("L", (8, 6), 77), (77, 77, 77)),
        "sixteen.png": (sixteen, (128, 128, 128)),
        "inks.tif": (Image.new("CMYK", (8, 6), (0, 255, 255, 0)), (255, 0, 0)),
    }
    for name, (image, _) in made.items():
        image.save(own / name)
        rows.append(f"{name},cat")
    rows += [f"day {number % 2}/IMG {number}.JPG," for number in range(10)]
    (own / "tags.csv").write_text("\n".join(rows))
    out = bring(own)

    for name, (_, colour) in made.items():
        with Image.open(out / "JPEGImages" / f"{Path(name).stem}.jpg") as image:
            assert (image.format, image.mode) == ("JPEG", "RGB")
            assert np.abs(np.array(image).astype(int) - colour).max() <= 3, name


def test_bring__cmyk_goes_by_its_profile(own):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    path = own / "day 0/IMG 0.JPG"
    Image.new("CMYK", (8, 6), (0, 255, 255, 0)).save(path, format="JPEG", icc_profile=profile)
    # A profile of the wrong kind is as good as none.
    with Image.open(bring(own) / "JPEGImages/day_0_IMG_0.jpg") as image:
        assert image.getpixel((3, 3))[0] > 200


def test_bring__every_photograph_that_cannot_be_decoded_is_named(own):
    (own / "day 0/IMG 0.JPG").write_bytes(b"")
    (own / "day 1/IMG 1.JPG").write_bytes(b"heic")
    lines = refusal(own).splitlines()
    assert lines[0].endswith("cannot be brought, 2 faults to correct:")
    assert "day 0/IMG 0.JPG: cannot be decoded" in lines[1]
    assert "day 1/IMG 1.JPG: cannot be decoded" in lines[2]


def write(own: Path, text: str) -> None:
    (own / "tags.csv").write_text(text)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda own: write(own, "file,tags\na,cat\n"), "has no column image but file, tags"),
        (lambda own: write(own, "image,tags\n"), "needs a row for each image"),
        (
            lambda own: write(own, "image,tags\nnone.jpg,cat\n"),
            "line 2: none.jpg: the folder holds",
        ),
        (lambda own: write(own, "image,tags,split\nx.jpg,cat,valid\n"), "line 2 must have"),
        (lambda own: write(own, "image,tags\nday 0/IMG 0.JPG,\n"), "no photograph has a tag"),
        (
            lambda own: photograph(own / "masks/day 0/IMG 0.png", 0),
            "classes.txt: no such file; masks need it",
        ),
        (lambda own: shutil.rmtree(own), "no such folder"),
        (lambda own: (own / "tags.csv").write_bytes(b"image,tags\n\x81,b"), "Windows-1252"),
    ],
)
def test_bring__a_folder_that_cannot_be_used(own, spoil, message):
    spoil(own)
    assert message in refusal(own)


def test_bring__two_files_of_one_name(own):
    photograph(own / "day 0" / "IMG_0.png", 77)
    write(own, "image,tags\nday 0/IMG 0.JPG,cat\nday 0/IMG_0.png,dog\n")
    assert "would both be named day_0_IMG_0; rename one" in refusal(own)


@pytest.mark.parametrize("folder", ["data/mine", "data/mine/photographs"])
def test_config__refuses_a_folder_that_would_be_cleared(tmp_path, monkeypatch, folder):
    monkeypatch.chdir(tmp_path)
    content = yaml.safe_load((ROOT / "configs/debug.yaml").read_text())
    source = {"source": "folder", "name": "mine", "folder": folder, "val_share": 0.2, "val_seed": 0}
    Path("params.yaml").write_text(yaml.safe_dump({**content, "download": source}))
    with pytest.raises(ConfigError, match="is in data/mine, which is cleared first"):
        load(Path("params.yaml"))


def test_run__refuses_to_clear_the_users_photographs(own):
    cfg = FolderSource(source="folder", name="mine", folder=own)
    for out in (own, own.parent):
        with pytest.raises(DataError, match="which is cleared first"):
            download.run(cfg, out=out)
    assert len(list(own.rglob("*.JPG"))) == 10


def test_index__of_a_subset_with_masks(own):
    (own / "classes.txt").write_text("dog\ncat\n")
    values = np.tile(np.array([0, 1, 2, 255], np.uint8), (6, 2))
    for number in range(10):
        path = own / f"masks/day {number % 2}/IMG {number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(path)
    out = bring(own)
    index.run(IndexSection(classes=["cat"]), data=out, out=own.parent / "index")

    found = read_index(own.parent / "index")
    assert {record.tags for record in found.split("train")} == {("cat",)}
    assert {record.tags for record in found.split("val")} <= {("cat",), ()}
    assert found.truth(found.records[0])[0].tolist() == [0, 255, 1, 255] * 2


def test_commands__download_index_and_doctor(own, monkeypatch):
    monkeypatch.chdir(own.parent)
    content = yaml.safe_load((ROOT / "configs/debug.yaml").read_text())
    content["download"] = {
        "source": "folder", "name": "mine", "folder": str(own), "val_share": 0.2, "val_seed": 0,
        "on_bad_file": "error",
    }  # fmt: skip
    content["index"]["classes"] = None
    Params.model_validate(content)
    Path("params.yaml").write_text(yaml.safe_dump(content))
    for command in (
        "download --out data/mine",
        "index --data data/mine --out index",
        "data doctor",
    ):
        run = CliRunner().invoke(cli.app, command.split())
        assert run.exit_code == 0, (command, run.output, run.exception)
    assert run.stdout.startswith("data/mine\n")
    assert "0 errors, 0 warnings" in run.stdout
    assert len(read_index(Path("index")).records) == 10


def doctor(*arguments: object) -> tuple[int, str]:
    run = CliRunner().invoke(cli.app, ["data", "doctor", *map(str, arguments)])
    return run.exit_code, run.output


def test_doctor__looks_at_a_raw_folder_in_the_users_own_names(own, monkeypatch):
    monkeypatch.chdir(own.parent)
    assert doctor(own)[0] == 0
    photograph(own / "new.png", 99)
    shutil.copy(own / "day 0/IMG 0.JPG", own / "day 1/IMG 1.JPG")
    (own / "day 0/IMG 2.JPG").write_bytes(b"")
    before = sorted(own.rglob("*"))

    status, text = doctor(own, "--out", "page")

    assert status == 1
    assert "  new.png: has no row in tags.csv" in text
    assert "  day 0/IMG 2.JPG: cannot be decoded (it is empty)" in text
    assert "2 errors" in text and "`rca download` refuses this data set" in text
    assert "rca-doctor-" not in text, "the scratch folder is nobody's business"
    assert "data:image/webp" in Path("page/doctor.html").read_text()
    assert sorted(own.rglob("*")) == before


def test_doctor__without_a_folder_takes_the_raw_one_until_it_was_brought(own, monkeypatch):
    monkeypatch.chdir(own.parent)
    params = yaml.safe_load((ROOT / "configs/own_folder.yaml").read_text())
    params["download"] |= {"name": "mine", "folder": str(own)}
    Path("params.yaml").write_text(yaml.safe_dump(params))

    assert f"{own}\n" in doctor()[1]
    assert CliRunner().invoke(cli.app, ["download"]).exit_code == 0
    assert "data/mine\n" in doctor()[1]


def test_bring__masks_for_some_are_scored_and_the_others_used_without(own):
    for number in (0, 5):
        path = own / f"masks/IMG {number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((6, 8), 1, np.uint8)).save(path)
    (own / "masks/classes.txt").write_text("cat\ndog\n")
    index.run(IndexSection(), data=bring(own), out=own.parent / "index")

    found = read_index(own.parent / "index")
    masked = [record.image for record in found.records if record.mask]
    assert sorted(masked) == ["day_0_IMG_0", "day_1_IMG_5"] and len(found.records) == 10


def test_bring__a_large_photograph_is_warned_of(own):
    photograph(own / "day 0/IMG 0.JPG", 0, (4000, 2100), format="JPEG")
    findings = inspect(
        ImageFiles("a", own / "day 0/IMG 0.JPG", mask=None, saliency=None, classes=None)
    ).findings
    assert [f.check for f in findings] == ["large"]
    assert "is 4000 × 2100; the CRF takes 2.5 to 4.2 GB for it" in findings[0].what
