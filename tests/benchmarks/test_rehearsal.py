"""The rehearsal: its data set, what it sees of jobs, its fits, its record; and a tiny one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from benchmarks.rehearsal import fabricate, growth, observe, pipeline, tables
from benchmarks.rehearsal.__main__ import alone, is_done, options, setting, sizes
from benchmarks.rehearsal.fabricate import Size
from rca.config import load
from rca.data.index import read_index
from rca.stages import download, index

ROOT = Path(__file__).parents[2]
SIZE = Size(images=24, images_val=6, classes=20)


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("fabricated") / "one.tar"
    fabricate.write_archive(file, SIZE)
    return file


def test_archive__is_the_same_bytes_for_the_same_seed_alone(archive, tmp_path):
    digest = fabricate.write_archive(tmp_path / "again.tar", SIZE)
    assert (tmp_path / "again.tar").read_bytes() == archive.read_bytes()
    assert fabricate.write_archive(tmp_path / "other.tar", SIZE, seed=1) != digest


def test_archive__no_two_photographs_are_alike(archive):
    with tarfile.open(archive) as tar:
        photographs = [
            tar.extractfile(member).read() for member in tar if member.name.endswith(".jpg")
        ]
    assert len({*photographs}) == len(photographs) == 30


def test_fabricate__draws_again_where_a_photograph_repeats_an_earlier_one(monkeypatch):
    mask = np.ones((2, 2), np.uint8)
    source = fabricate.Source(np.zeros((2, 2, 3), np.uint8), mask, np.argwhere(mask))
    monkeypatch.setattr(fabricate, "read_sources", lambda: [source])
    shades = iter((0, 0, 0, 90))
    monkeypatch.setattr(
        fabricate, "cut", lambda *_: fabricate.Fabricated(bytes([next(shades)]), b"", ())
    )
    found = fabricate.fabricate(Size(images=1, images_val=1, classes=3), seed=0)
    assert [image.photograph for image in found] == [b"\0", b"\x5a"]


def test_data_set__is_taken_by_download_and_index_with_tags_that_fit_the_masks(archive, tmp_path):
    digest = fabricate.write_archive(archive, SIZE)
    preset = yaml.safe_load((ROOT / pipeline.PRESET).read_text())
    params = pipeline.parameters(preset, digest, shards=1)
    params["download"]["archive"] = str(archive)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    cfg = load(tmp_path / "params.yaml")
    download.run(cfg.download, out=tmp_path / "data")
    index.run(cfg.index, data=tmp_path / "data", out=tmp_path / "index")

    data = read_index(tmp_path / "index")
    assert len(data.split("train")) == 24 and len(data.split("val")) == 6
    for record in data.records:
        labels = {*np.unique(data.truth(record)).tolist()} - {0, 255}
        assert {data.classes.index(tag) + 1 for tag in record.tags} == labels != set()
        with Image.open(record.file) as photograph:
            assert all(96 <= side <= 160 for side in photograph.size)
    assert len({tag for record in data.records for tag in record.tags}) > 10


def test_parameters__every_override_is_a_key_of_the_preset():
    preset = yaml.safe_load((ROOT / pipeline.PRESET).read_text())
    params = pipeline.parameters(preset, "0" * 64, shards=3)
    assert params.keys() == preset.keys()
    assert params["compute"]["shards"] == 3 and params["report"].keys() == preset["report"].keys()
    assert params["train_cam"]["rsc"].keys() == preset["train_cam"]["rsc"].keys()


COMMAND = """
import time
held, end = bytearray(b"x" * 80_000_000), time.monotonic() + 2
while time.monotonic() < end: pass
"""
JOB = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {COMMAND!r}])"


@pytest.mark.slow
def test_observer__sees_time_and_memory_of_a_job_and_its_command(tmp_path):
    package = tmp_path / "workflow/engine"
    package.mkdir(parents=True)
    (package / "run_stage.py").write_text(JOB)
    for folder in (package, package.parent):
        (folder / "__init__.py").touch()  # or another `workflow` on the path goes first
    with observe.Observer(tmp_path, tmp_path / "jobs.jsonl"):
        command = [sys.executable, "-m", "workflow.engine.run_stage", "crf"]
        subprocess.run(command, cwd=tmp_path, check=True)
        time.sleep(2 * observe.INTERVAL)
    with (tmp_path / "jobs.jsonl").open("a") as file:
        file.write('{"key": "half a li')  # as a killed observer leaves it

    (job,) = observe.read_jobs(tmp_path / "jobs.jsonl")
    assert (job.stage, job.shard, job.processes) == ("crf", False, 2)
    assert job.peak_mb > 80 and job.cpu_s > 0.1
    assert 1 < job.command_s <= job.wall_s


@pytest.mark.slow
def test_timed__measures_a_command_with_all_below_it(tmp_path):
    (tmp_path / "job.py").write_text(JOB)
    found = pipeline.timed(f"{sys.executable} job.py", tmp_path, os.environ)
    assert found["status"] == 0 and found["wall_s"] >= 2
    assert found["peak_mb"] > 80 and found["cpu_s"] > 0.1
    assert pipeline.timed(f"{sys.executable} none.py", tmp_path, os.environ)["status"] == 2
    assert "none.py" in (tmp_path / pipeline.LOG).read_text()


RUN_TIMED = """
import os, sys
from pathlib import Path
from benchmarks.rehearsal import pipeline
pipeline.end_on_signals()
pipeline.timed(sys.executable + " outer.py", Path(sys.argv[1]), os.environ)
"""
OUTER = "import subprocess, sys; subprocess.run([sys.executable, 'inner.py'])"
INNER = """
import time
from pathlib import Path
try:
    Path("begun").touch()
    time.sleep(60)
except KeyboardInterrupt:
    Path("interrupted").touch()
"""


def test_timed__that_is_terminated_interrupts_the_command_and_all_below_it(tmp_path):
    (tmp_path / "outer.py").write_text(OUTER)
    (tmp_path / "inner.py").write_text(INNER)
    background = f"trap '' INT; exec {sys.executable} -c '{RUN_TIMED}' {tmp_path}"
    process = subprocess.Popen(["bash", "-c", background], cwd=ROOT)
    while not (tmp_path / "begun").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.terminate()
    assert process.wait(timeout=30) == 1
    assert (tmp_path / "interrupted").exists()


def test_by_stage__adds_times_of_shards_and_takes_the_largest_memory():
    jobs = [
        observe.Job("1", "crf", True, wall_s=2, command_s=1, cpu_s=3, peak_mb=50, processes=2),
        observe.Job("2", "crf", True, wall_s=4, command_s=2, cpu_s=5, peak_mb=70, processes=3),
    ]
    assert observe.by_stage(jobs) == {
        "crf": {
            "jobs": 2, "wall_s": 6, "command_s": 3, "cpu_s": 8, "peak_mb": 70, "processes": 3
        }
    }  # fmt: skip


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_exponent__of_a_power_law_is_its_power(power):
    found = growth.exponent([10, 100, 1000], [3 * size**power for size in (10, 100, 1000)])
    assert found == pytest.approx(power, abs=1e-3)


def test_exponent__needs_two_sizes_and_positive_values():
    assert growth.exponent([10, 10], [1, 2]) is None
    assert growth.exponent([10, 20], [0, 2]) is None


@pytest.mark.parametrize(
    ("values", "fixed", "each"),
    [
        ([12, 14, 18], 10, 0.2),
        ([2, 4, 8], 0, 0.2),
        ([1, 4, 16], 0, None),  # faster than linear: no fixed cost below 0
        ([9, 9, 9], 9, 0),
        ([9, 8, 7], None, 0),  # no cost per image below 0
    ],
)
def test_line__is_a_fixed_cost_and_one_per_image_neither_below_0(values, fixed, each):
    found = growth.line([10, 20, 40], values)
    assert found["fixed"] >= 0 and found["each"] >= 0
    if fixed is not None:
        assert found["fixed"] == pytest.approx(fixed, abs=1e-6)
    if each is not None:
        assert found["each"] == pytest.approx(each, abs=1e-6)


def run_of(images: int, **other) -> dict:
    """What a rehearsal records."""
    taken = {"wall_s": 10 + images, "cpu_s": 5 + images / 10, "peak_mb": 200.0}
    stage = {**taken, "jobs": 1, "command_s": 1, "processes": 2, "files": images, "megabytes": 0.5}
    books = {name: taken for name in growth.COMMANDS}
    books |= {
        "dvc_lock_bytes": 11_000,
        "metadata": {"files": 300, "megabytes": 1},
        "disk": {"results": {"files": images, "megabytes": 12.0}},
    }
    return {
        "images": images, "images_val": 0, "classes": 20, "shards": 1, "slurm": False, "cores": 2,
        "seed": 0, "stages": {"crf": stage, "train_seg@pseudo": stage}, "snakemake": taken,
        "books": books, **other,
    }  # fmt: skip


def test_record__fits_over_the_sizes_of_one_setting():
    odd = [run_of(200, shards=4), run_of(900, classes=80)]
    content = tables.record([run_of(400), run_of(100), *odd], {"commit": "c"})
    assert [run["images"] for run in content["runs"]] == [100, 200, 400, 900]
    cpu = content["growth"]["crf"]["cpu_s"]
    assert cpu["line"] == {"fixed": 5, "each": 0.1} and 0 < cpu["exponent"] < 1
    assert content["growth"]["crf"]["files"]["exponent"] == 1
    assert json.loads(json.dumps(content)) == content


def test_tables__a_million_images_by_the_lines():
    content = tables.record([run_of(100), run_of(200)], {})
    rows = {row[0]: row[1:] for row in tables.estimate_rows(content)}
    # Memory and bytes are the same at both sizes.
    assert rows["`crf`"] == ("100.0", "27.8", "–", "1,000,000", "–")
    assert rows["`dvc status`"] == ("100.0", "27.8", "–", "–", "–")
    stages = {row[0]: row for row in tables.stage_rows(content)}
    assert stages["`train_seg@pseudo`"][4] == "32,000"
    assert len({len(row) for row in tables.run_rows(content)}) == 1
    assert "exp" not in tables.printed(content)


def test_tables__growth_that_could_be_noise_is_not_extrapolated():
    content = tables.record([run_of(10), run_of(20)], {})  # 6 and 7 s
    rows = {row[0]: row[1:] for row in tables.estimate_rows(content)}
    assert rows["`crf`"] == ("–", "–", "–", "1,000,000", "–")


def test_tables__a_resumed_run_has_no_time_as_a_whole():
    content = tables.record([run_of(10), run_of(20, resumed=True)], {})
    assert [row[2] for row in tables.run_rows(content)[1:]] == ["20 (6.0)", "–"]


def test_page__has_the_recorded_tables():
    content = json.loads((ROOT / tables.RECORD).read_text())
    text = (ROOT / tables.PAGE).read_text()
    for mark, table in tables.page_tables(content).items():
        assert f"<!-- table: {mark} -->\n{table}<!-- end of table -->" in text


def test_options__give_a_size_each_and_know_what_is_done():
    asked = options(["--images", "10582", "750"])
    assert sizes(asked) == [Size(10_582, 1_449, 20), Size(750, 103, 20)]
    done = [setting(sizes(asked)[0], asked)]
    assert [is_done(size, asked, done) for size in sizes(asked)] == [True, False]
    sharded = options(["--images", "10582", "--shards", "4"])
    assert not is_done(sizes(sharded)[0], sharded, done)
    with pytest.raises(SystemExit):
        options(["--images", "1", "2", "--images-val", "1"])


def test_alone__another_rehearsal_in_the_folder_is_refused_until_the_first_ends(tmp_path):
    with alone(tmp_path / "work"):
        with pytest.raises(RuntimeError, match="another rehearsal is running there"):
            alone(tmp_path / "work").__enter__()
        with alone(tmp_path / "other"):
            pass
    with alone(tmp_path / "work"):
        pass


def test_with_outputs__refuses_a_stage_that_nobody_saw(tmp_path):
    entry = {"outs": [{"path": "results/x", "size": 2_000_000, "nfiles": 3}]}
    books = {"stages": {"check": entry, "crf": entry}}
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump(books))
    found = pipeline.with_outputs({"crf": {"cpu_s": 1.0}}, tmp_path)
    assert found == {"crf": {"cpu_s": 1.0, "files": 3, "megabytes": 2.0}}
    with pytest.raises(RuntimeError, match="crf ran while nobody measured"):
        pipeline.with_outputs({}, tmp_path)


@pytest.mark.pipeline
def test_rehearsal__of_a_few_images_is_recorded_and_not_measured_twice(tmp_path):
    command = [
        sys.executable, "-m", "benchmarks.rehearsal", "--images", "24", "--images-val", "8",
        "--work", str(tmp_path / "work"), "--out", str(tmp_path / "rehearsal.json"),
    ]  # fmt: skip
    first, again = (
        subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1800)
        for _ in range(2)
    )
    assert first.returncode == 0, first.stdout + first.stderr
    content = json.loads((tmp_path / "rehearsal.json").read_text())
    (run,) = content["runs"]
    assert {"download", "train_cam", "relabel@round_1", "report", "track"} <= run["stages"].keys()
    assert run["stages"]["crf"]["files"] == 24 and run["books"]["dvc_status"]["status"] == 0
    assert all(seen["cpu_s"] > 0 and seen["peak_mb"] > 0 for seen in run["stages"].values())
    assert not any((tmp_path / "work").iterdir())
    assert "already" in again.stdout
