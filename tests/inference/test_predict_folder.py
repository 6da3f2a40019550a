"""`rca predict` as users run it: its files, resuming, bad photographs, other settings, links."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from tiny_network import CLASSES, photograph, write_weights

import rca
from rca import cli
from rca.inference import exports, folder
from rca.inference.journal import Journal
from rca.runtime.code import code_digest

ROOT = Path(__file__).parents[2]
PATIENCE = 300  # seconds


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A working folder with weights `w` and six photographs in two folders of `p`."""
    monkeypatch.chdir(tmp_path)
    write_weights(tmp_path / "w.safetensors")
    for number, name in enumerate(["a.jpg", "b.png", "sub/a.jpg", "sub/c.jpg", "d.jpg", "e.jpg"]):
        file = tmp_path / "p" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        photograph(number, 60 + number, 44).save(file)
    return tmp_path


def predict(monkeypatch, arguments: str) -> int:
    """Exit status of `rca predict`, on one thread and without worker processes."""
    more = "--weights w.safetensors --threads 1 --processes 1"
    monkeypatch.setattr(sys, "argv", ["rca", "predict", *more.split(), *arguments.split()])
    try:
        cli.main()
    except SystemExit as end:
        return end.code or 0
    return 0


def contents(out: Path, *without: str) -> dict[str, bytes]:
    """All files but the journal; the table without the seconds that each photograph took."""
    found = {}
    for file in out.rglob("*"):
        if file.is_file() and file.name not in ("journal.jsonl", *without):
            found[file.relative_to(out).as_posix()] = file.read_bytes()
    if exports.TABLE in found:
        found[exports.TABLE] = re.sub(rb",[\d.]+\n", b"\n", found[exports.TABLE])
    return found


def table(out: Path) -> list[dict[str, str]]:
    with (out / exports.TABLE).open(newline="") as file:
        return list(csv.DictReader(file))


def test_predict__writes_what_the_model_finds(place, monkeypatch, capsys):
    assert predict(monkeypatch, "p --out o --overlays --confidence --crf --size 48") == 0

    assert capsys.readouterr().out == "o: 6 masks\n"
    model = rca.load("w.safetensors", crf=True, size=48)
    rows = table(Path("o"))
    names = ["a", "b", "d", "e", "sub/a", "sub/c"]
    assert [row["mask"] for row in rows] == [f"masks/{name}.png" for name in names]
    for name, row in zip(names, rows, strict=True):
        result = model.predict(row["photograph"])
        mask = Image.open(f"o/masks/{name}.png")
        levels = np.asarray(Image.open(f"o/confidence/{name}.png"))
        assert mask.mode == "P" and levels.dtype == np.uint16
        np.testing.assert_array_equal(np.asarray(mask), result.mask)
        assert mask.getpalette()[:768] == result.palette.ravel().tolist()
        np.testing.assert_allclose(levels / 65535, result.confidence, atol=1e-5)
        result.overlay().save("overlay.jpg", quality=90)
        assert Path(f"o/overlays/{name}.jpg").read_bytes() == Path("overlay.jpg").read_bytes()
        assert (int(row["height"]), int(row["width"])) == result.mask.shape
        shares = [float(share) for share in row["shares"].split(";")]
        assert dict(zip(row["classes"].split(";"), shares, strict=True)) == pytest.approx(
            result.classes, abs=1e-6
        )
        assert float(row["confidence"]) == pytest.approx(result.confidence.mean(), abs=1e-4)
        assert float(row["doubt"]) == pytest.approx(result.doubt, abs=6e-5)
        assert float(row["seconds"]) > 0
    assert not Path("o/failed.csv").exists()


def test_predict__without_flags_writes_masks_and_table_alone(place, monkeypatch):
    assert predict(monkeypatch, "p/a.jpg --out o") == 0
    files = {"masks/a.png", "predictions.csv", "predict.json"}
    assert set(contents(Path("o"))) == files


def test_coco__is_read_by_pycocotools_and_holds_the_masks(place, monkeypatch):
    assert predict(monkeypatch, "p --out o --coco") == 0
    coco = COCO("o/coco.json")
    assert [category["name"] for category in coco.loadCats(coco.getCatIds())] == list(CLASSES)
    rows = table(Path("o"))
    assert len(coco.imgs) == len(rows) == 6
    for image, row in zip(coco.imgs.values(), rows, strict=True):
        assert f"p/{image['file_name']}" == row["photograph"]
        mask = np.asarray(Image.open(f"o/{row['mask']}"))
        rebuilt = np.zeros_like(mask)
        for annotation in coco.loadAnns(coco.getAnnIds([image["id"]])):
            region = coco.annToMask(annotation)
            assert annotation["area"] == region.sum()
            assert 0 < annotation["score"] <= 1
            rebuilt[region > 0] = annotation["category_id"]
        np.testing.assert_array_equal(rebuilt, mask)


def test_label_studio__has_a_brush_region_for_each_class(place, monkeypatch):
    Path("p/sub/a.jpg").rename("p/sub/an é.jpg")
    assert predict(monkeypatch, "p --out o --label-studio /data/local-files/?d=p/") == 0
    tasks = json.loads(Path("o/label_studio.json").read_text())
    rows = table(Path("o"))
    for task, row in zip(tasks, rows, strict=True):
        (prediction,) = task["predictions"]
        found = [region["value"]["brushlabels"] for region in prediction["result"]]
        assert found == [[name] for name in row["classes"].split(";")]
        size = {(r["original_width"], r["original_height"]) for r in prediction["result"]}
        assert size == {(int(row["width"]), int(row["height"]))}
    assert tasks[4]["data"]["image"] == "/data/local-files/?d=p/sub/an%20%C3%A9.jpg"
    labels = Path("o/label_studio.xml").read_text()
    assert all(f'<Label value="{name}"' in labels for name in CLASSES)


def test_tables__can_be_asked_for_later(place, monkeypatch, capsys):
    predict(monkeypatch, "p --out first --coco --label-studio x")
    predict(monkeypatch, "p --out later")
    before = Path("later/masks/a.png").stat().st_mtime_ns
    predict(monkeypatch, "p --out later --coco --label-studio x")
    assert contents(Path("later")) == contents(Path("first"))
    assert Path("later/masks/a.png").stat().st_mtime_ns == before
    assert "6 masks, 6 of them from before" in capsys.readouterr().out


def test_tables__are_of_the_last_call(place, monkeypatch):
    predict(monkeypatch, "p --out o --coco --label-studio x")
    Path("one.txt").write_text("p/a.jpg\nnone.jpg\n")
    assert predict(monkeypatch, "one.txt --out o") == 1
    predict(monkeypatch, "p --out o")
    assert {file.name for file in Path("o").iterdir() if file.suffix != ".jsonl"} == {
        "masks",
        "predict.json",
        "predictions.csv",
    }
    assert len(table(Path("o"))) == 6


def test_bad_photographs__are_reported_and_do_not_stop_the_rest(place, monkeypatch, capsys):
    Path("p/b.png").write_bytes(b"no picture")
    Path("p/d.jpg").write_bytes(Path("p/d.jpg").read_bytes()[:300])
    Image.new("RGB", (3, 300)).save("p/f.png")
    os.mkfifo("p/pipe.jpg")
    Path("p/dangling.jpg").symlink_to("nowhere")

    assert predict(monkeypatch, "p --out o --coco") == 1

    told = capsys.readouterr()
    assert "o: 4 masks" in told.out and "5 photographs have none" in told.err
    assert [row["photograph"] for row in table(Path("o"))] == [
        "p/a.jpg",
        "p/e.jpg",
        "p/sub/a.jpg",
        "p/sub/c.jpg",
    ]
    with open("o/failed.csv", newline="") as file:
        reasons = {row["photograph"]: row["reason"] for row in csv.DictReader(file)}
    assert list(reasons) == ["p/b.png", "p/d.jpg", "p/dangling.jpg", "p/f.png", "p/pipe.jpg"]
    for name, reason in {
        "b.png": "cannot be decoded",
        "d.jpg": "cannot be decoded",
        "dangling.jpg": "no such image",
        "f.png": "3 × 300",
        "pipe.jpg": "not a regular file",
    }.items():
        assert reason in reasons[f"p/{name}"] and f"p/{name}" in told.err

    photograph(1, 61, 44).save("p/b.png")
    for name in ("d.jpg", "f.png", "pipe.jpg", "dangling.jpg"):
        Path("p", name).unlink()
    assert predict(monkeypatch, "p --out o --coco") == 0
    assert len(table(Path("o"))) == 5 and not Path("o/failed.csv").exists()


def test_many_failures__are_cut_short_on_the_terminal(place, monkeypatch, capsys):
    Path("list.txt").write_text("p/a.jpg\n" + "".join(f"none{n}.jpg\n" for n in range(30)))
    assert predict(monkeypatch, "list.txt --out o") == 1
    told = capsys.readouterr().err
    assert told.count("no such image") == 20 and "and 10 more" in told and "o/failed.csv" in told
    assert len(Path("o/failed.csv").read_text().splitlines()) == 31


def test_resumed__after_an_error_ends_in_the_same_bytes(place, monkeypatch):
    flags = "--overlays --confidence --coco --label-studio x"
    predict(monkeypatch, f"p --out whole {flags}")
    seen = []
    real = folder.read_photograph

    def read(file):
        seen.append(file.name)
        if len(seen) == 4:
            raise KeyboardInterrupt
        return real(file)

    monkeypatch.setattr(folder, "read_photograph", read)
    predict(monkeypatch, f"p --out o {flags}")
    assert not Path("o/predictions.csv").exists()
    with open("o/journal.jsonl", "ab") as journal:
        journal.write(b'{"name": "cut')
    Path("o/masks/.a.png.0badcafe.partial").write_bytes(b"half")
    damaged = Path("o/masks/b.png")
    damaged.write_bytes(damaged.read_bytes()[:-20])
    seen[:] = [""] * 4
    assert predict(monkeypatch, f"p --out o {flags}") == 0

    assert seen[4:] == ["b.png", "e.jpg", "a.jpg", "c.jpg"]
    assert contents(Path("o")) == contents(Path("whole"))


def test_resumed__a_photograph_that_changed_is_done_again(place, monkeypatch):
    predict(monkeypatch, "p --out o")
    photograph(77, 60, 44).save("p/a.jpg")
    predict(monkeypatch, "p --out o")
    predict(monkeypatch, "p --out fresh")
    assert contents(Path("o")) == contents(Path("fresh"))


@pytest.mark.slow
def test_other_settings__are_never_mixed(place, monkeypatch, capsys):
    predict(monkeypatch, "p --out o --size 40")
    before = contents(Path("o"))
    write_weights(place / "w2.safetensors", seed=1)
    for change, told in {
        "--size 41": "settings.size: 40 there, now 41",
        "--size 40 --crf": "settings.crf: null there",
        "--size 40 --scales 1,2": "settings.scales: [1.0] there, now [1.0, 2.0]",
        "--size 40 --max-pixels 9": "settings.max_pixels: 1000000 there, now 9",
        "--size 40 --threads 2": "machine.threads: 1 there, now 2",
        "--size 40 --weights w2.safetensors": "weights: ",
    }.items():
        assert predict(monkeypatch, f"p --out o {change}") == 2
        err = capsys.readouterr().err
        assert "o: holds masks of other settings; give another --out, or delete it" in err
        assert told in err
    assert contents(Path("o")) == before


def test_other_code__does_not_go_on(place, monkeypatch, capsys):
    predict(monkeypatch, "p/a.jpg --out o")
    code = json.loads(Path("o/predict.json").read_text())["code"]
    assert code == [code_digest(f"rca.inference.{name}") for name in ("model", "folder")]

    monkeypatch.setattr("rca.inference.journal.code_digest", lambda module: f"other {module}")
    assert predict(monkeypatch, "p/a.jpg --out o") == 2
    assert 'now ["other rca.inference.model", "oth' in capsys.readouterr().err


def test_out__that_holds_something_else_is_refused(place, monkeypatch, capsys):
    Path("o/masks").mkdir(parents=True)
    Path("o/masks/a.png").write_text("mine")
    assert predict(monkeypatch, "p --out o") == 2
    assert "did not write; give a new folder" in capsys.readouterr().err
    assert Path("o/masks/a.png").read_text() == "mine"
    assert predict(monkeypatch, "p --out p") == 2
    assert predict(monkeypatch, "p --out w.safetensors") == 2
    assert "w.safetensors: cannot be a folder for masks" in capsys.readouterr().err


def test_links__do_not_lead_out_of_the_output(place, monkeypatch, capsys):
    predict(monkeypatch, "p/a.jpg --out o")
    Path("elsewhere").mkdir()
    Path("o/masks/sub").symlink_to("../../elsewhere")
    assert predict(monkeypatch, "p --out o") == 2
    assert "is a link that points outside o; remove it" in capsys.readouterr().err
    assert not list(Path("elsewhere").iterdir())


def test_links__of_a_file_are_replaced(place, monkeypatch):
    Path("mine.png").write_text("mine")
    predict(monkeypatch, "p/a.jpg --out o")
    Path("o/masks/a.png").unlink()
    Path("o/masks/a.png").symlink_to("../../mine.png")
    assert predict(monkeypatch, "p/a.jpg --out o") == 0
    assert Path("mine.png").read_text() == "mine"
    assert not Path("o/masks/a.png").is_symlink()


def test_same_stems__get_masks_of_their_own(place, monkeypatch):
    shutil.copyfile("p/b.png", "p/a.png")
    (place / "q").mkdir()
    shutil.copyfile("p/e.jpg", "q/a.jpg")
    assert predict(monkeypatch, "p q --out o") == 0
    rows = table(Path("o"))
    assert len({row["mask"] for row in rows}) == len(rows) == 8
    model = rca.load("w.safetensors")
    for row in rows:
        mask = np.asarray(Image.open(f"o/{row['mask']}"))
        np.testing.assert_array_equal(mask, model.predict(row["photograph"]).mask)


def test_same_names__of_another_call_are_refused_unless_the_photograph_moved(
    place, monkeypatch, capsys
):
    predict(monkeypatch, "p --out o")
    before = contents(Path("o"), "predictions.csv")
    shutil.copytree("p", "q")
    assert predict(monkeypatch, "q --out o") == 2
    assert "/p/a.jpg there, and would be that of q/a.jpg; give another" in capsys.readouterr().err
    assert contents(Path("o")) == before
    shutil.rmtree("p")
    assert predict(monkeypatch, "q --out o") == 0
    assert table(Path("o"))[0]["photograph"] == "q/a.jpg"


def test_names__that_are_not_text_keep_their_bytes(place, monkeypatch):
    name = os.fsdecode(b"p/\xff\xe9.jpg")
    photograph(9).save(name)
    assert predict(monkeypatch, "p --out o --coco --label-studio x") == 0
    assert os.path.exists(os.fsdecode(b"o/masks/\xff\xe9.png"))
    assert b"p/\xff\xe9.jpg,masks/\xff\xe9.png" in Path("o/predictions.csv").read_bytes()


def test_workers__start_without_torch():
    code = "import rca.inference.outputs, sys; print({'torch', 'matplotlib'} & {*sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


def test_journal__reads_from_disk(tmp_path, place, monkeypatch):
    predict(monkeypatch, "p --out o")
    journal = Journal(Path("o"))
    row = journal.get("sub/c")
    assert row.stamp.path == str(place / "p/sub/c.jpg") and row.width == 63
    assert journal.get("none") is None
    journal.close()


def test_arguments__wrong_ones_are_one_line(place, monkeypatch, capsys):
    for arguments, message in {
        "none --out o": "none: no such file or folder",
        "p --out o --scales 1,x": "is not a list of numbers",
        "p --out o --size 0": "size: ",
        "p --out o --params none.yaml": "none.yaml: no such file",
    }.items():
        assert predict(monkeypatch, arguments) == 2
        assert message in capsys.readouterr().err
        assert not Path("o").exists()


def command(place: Path, arguments: str) -> list[str]:
    weights = place / "w.safetensors"
    start = [sys.executable, "-m", "rca", "predict", "--weights", str(weights), "--threads", "1"]
    return [*start, *arguments.split()]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
def test_killed__goes_on_and_ends_in_the_same_bytes(place, monkeypatch):
    for number in range(12):
        photograph(number, 320, 240).save(place / f"p/more{number:02d}.jpg")
    flags = "p --crf --coco --overlays --out"
    assert predict(monkeypatch, f"{flags} whole --processes 2") == 0

    process = subprocess.Popen(
        command(place, f"{flags} o --processes 1"),
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    end = time.monotonic() + PATIENCE
    journal = place / "o/journal.jsonl"
    while not journal.is_file() or journal.read_bytes().count(b"\n") < 7:
        assert process.poll() is None and time.monotonic() < end, process.communicate()
        time.sleep(0.005)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (place / "o/predictions.csv").exists()
    done = sorted((place / "o/masks").glob("more*.png"))
    written = {file: file.stat().st_mtime_ns for file in done[:-1]}  # the last may lack its line
    assert written
    assert predict(monkeypatch, f"{flags} o") == 0

    assert contents(place / "o") == contents(place / "whole")
    assert {file: file.stat().st_mtime_ns for file in written} == written


@pytest.mark.slow
def test_large_photograph__stays_within_memory(place):
    draws = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    Image.fromarray(draws).resize((8000, 6000), Image.Resampling.NEAREST).save(place / "big.png")
    params = (ROOT / "configs/debug.yaml").read_text()
    params = params.replace("iterations: 2", "iterations: 1").replace("crf: false", "crf: true")
    (place / "params.yaml").write_text(params)
    code = (
        "import resource; from rca.cli import main\n"
        "try: main()\n"
        "finally: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    run = command(place, "big.png --params params.yaml --coco --processes 1 --out o")
    run[1:3] = ["-c", code]
    done = subprocess.run(
        run, env=environment(), capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    assert "with CRF" in done.stderr
    assert Image.open(place / "o/masks/big.png").size == (8000, 6000)
    # The probabilities alone, of four labels at full size, would be 0.8 GB, several times.
    assert int(done.stdout.splitlines()[-1]) < 2_000_000  # kB
