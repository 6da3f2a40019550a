"""The tutorials' changes apply as they stand and do what is said; commands of guides run."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pages import DOCS, ROOT, blocks, text_of
from PIL import Image
from tiny_network import photograph, write_weights

from rca import cli
from rca.config import load

CHANGE = text_of(DOCS / "tutorials/change_the_method.md")
SERVER = text_of(DOCS / "guides/test_server.md")
REPRODUCE = text_of(DOCS / "tutorials/reproduce_a_number.md")


def in_folder(folder: Path, *command: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, **options)


@pytest.fixture(scope="module")
def changed(tmp_path_factory) -> Path:
    """A copy of what the tutorial edits, with its test but not yet its rule."""
    folder = tmp_path_factory.mktemp("checkout")
    for part in ("rca", "tests/method", "docs/explanation", "configs"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    for part in ("params.yaml", "pyproject.toml"):
        shutil.copyfile(ROOT / part, folder / part)
    (test,) = blocks(CHANGE, "python")
    with (folder / "tests/method/test_regions.py").open("a", encoding="utf-8") as file:
        file.write(f"\n\n{test}")
    return folder


def run_tests(folder: Path, *selected: str) -> subprocess.CompletedProcess[str]:
    arguments = ("-q", "-p", "no:cacheprovider", "-k", "top_tenth or names_every_value")
    return in_folder(folder, sys.executable, "-m", "pytest", *selected, *arguments)


@pytest.mark.slow  # starts pytest three times
def test_change_of_the_method__fails_before_and_passes_after(changed) -> None:
    regions, page = "tests/method/test_regions.py", "tests/method/test_docs.py"
    rule, key = blocks(CHANGE, "diff")
    (row,) = blocks(CHANGE, "sh")
    environment = {"PYTHONPATH": str(changed), "PATH": "/usr/bin:/bin"}

    def apply(diff: str) -> None:
        done = in_folder(changed, "git", "apply", "--recount", "-C1", input=diff)  # as it stands
        assert done.returncode == 0, done.stderr

    before = run_tests(changed, regions)
    assert before.returncode == 1 and "region rule 'top_tenth'" in before.stdout
    apply(rule)
    halfway = run_tests(changed, regions, page)
    assert f"FAILED {page}" in halfway.stdout, halfway.stdout  # it does not name the value yet
    assert f"FAILED {regions}" not in halfway.stdout
    apply(key)
    assert in_folder(changed, "bash", "-euc", row).returncode == 0
    assert (after := run_tests(changed, regions, page)).returncode == 0, after.stdout
    schema = in_folder(changed, sys.executable, "-m", "rca", "schema", env=environment)
    assert '"top_tenth"' in schema.stdout


def test_submission__is_made_by_the_commands_of_the_guide(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_weights(tmp_path / "results/voc12/train_seg/pseudo/weights.safetensors")
    names = ("2008_000006", "2008_000011")
    for number, name in enumerate(names):
        file = tmp_path / f"data/voc12/JPEGImages/{name}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        photograph(number).save(file)
    photograph(9).save(file.with_name("2007_000027.jpg"))  # of training
    listed = tmp_path / "data/voc12/ImageSets/Segmentation/test.txt"
    listed.parent.mkdir(parents=True)
    listed.write_text("".join(f"{name}\n" for name in names))

    (block,) = blocks(SERVER, "console")
    for command in block.splitlines():
        if not command.startswith("rca "):
            subprocess.run(["bash", "-euc", command], check=True)
            continue
        monkeypatch.setattr(sys, "argv", command.split())
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert end.value.code in (0, None), command
    content = subprocess.run(
        ["tar", "--list", "--file", "submission.tar.gz"], capture_output=True, text=True, check=True
    ).stdout
    assert [Path(line).stem for line in content.split()] == list(names)
    mask = np.asarray(Image.open(f"test_masks/masks/{names[0]}.png"))
    assert mask.shape == (44, 60)


@pytest.mark.parametrize(("side", "comparable"), [(320, True), (240, False)])
def test_reproduction__names_the_number_and_what_compare_says(
    side, comparable, tmp_path, monkeypatch, capsys
) -> None:
    percent = re.search(r"reach ([\d.]+) % mIoU after the CRF", REPRODUCE)
    assert percent
    readme = text_of(ROOT / "README.md")
    assert f"| Pseudo-labels after CRF | 200 training | yes | {percent[1]} (" in readme
    record = ROOT / "benchmarks/results/demo.json"
    run = json.loads(text_of(record))
    run["protocol"]["crf"]["max_side"] = side
    (tmp_path / "metrics.json").write_text(json.dumps(run), encoding="utf-8")
    assert "such as another `crf.max_side`" in REPRODUCE

    monkeypatch.setattr(
        sys, "argv", ["rca", "compare", str(tmp_path / "metrics.json"), str(record)]
    )
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code in ((0, None) if comparable else (1,))
    said = capsys.readouterr().out
    assert ("NO" in said.split()) != comparable
    assert ("crf.max_side" in said) != comparable


def test_reproduction__parameters_of_the_record_are_those_that_ship() -> None:
    recorded = json.loads(text_of(ROOT / "benchmarks/results/demo.json"))["params"]
    recorded["train_seg"]["supervisions"].pop("truth")  # the network on true masks beside it
    assert recorded == load(ROOT / "params.yaml").model_dump(mode="json")
