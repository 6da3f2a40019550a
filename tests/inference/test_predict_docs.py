"""The examples of docs/guides/predict.md and of the README's section run as they stand."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest
from tiny_network import CLASSES, photograph, write_weights
from tiny_prototypes import write_prototypes

from rca import cli

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/guides/predict.md").read_text(encoding="utf-8")
SECTION = (
    (ROOT / "README.md")
    .read_text(encoding="utf-8")
    .partition("## Predict with a trained network")[2]
)
SECTION = SECTION.partition("\n## ")[0]


def blocks(text: str, kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_weights(tmp_path / "results/demo/train_seg/pseudo/weights.safetensors")
    write_prototypes(tmp_path / "results/demo", CLASSES)
    for number, name in enumerate(["cat.jpg", "more/dog.jpg"]):
        file = tmp_path / "photographs" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        photograph(number).save(file)
    (tmp_path / "list.txt").write_text("photographs/more/dog.jpg\n")


@pytest.mark.slow
@pytest.mark.parametrize("text", [PAGE, SECTION], ids=["page", "readme"])
def test_commands__run(text, monkeypatch):
    commands = [line for block in blocks(text, "console") for line in block.splitlines()]
    assert commands
    for command in commands:
        words = shlex.split(command)
        monkeypatch.setattr(sys, "argv", [*words, *more_arguments(words)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert end.value.code in (0, None), command
        out = Path(words[words.index("--out") + 1])
        assert out.is_file() if words[1] == "export" else list(out.rglob("masks/**/*.png")), command


def more_arguments(words: list[str]) -> list[str]:
    """What a tiny network, trained on 40 pixels, and its photographs need beside the command."""
    if words[1] == "export":
        return ["--photographs", str(ROOT / "data/embedded/voc12_animals_sample.tar")]
    size = ["--size", "64"] if words[words.index("--weights") + 1].endswith(".onnx") else []
    return ["--processes", "1", *size]


@pytest.mark.parametrize("text", [PAGE, SECTION], ids=["page", "readme"])
def test_python__runs(text, capsys):
    names: dict[str, object] = {}
    assert blocks(text, "python")
    for block in blocks(text, "python"):
        exec(compile(block, "docs/guides/predict.md", "exec"), names)
    assert names["model"].classes == ("cat", "dog", "cow")
    assert capsys.readouterr().out


def test_files__of_the_tables_are_those_that_are_written(monkeypatch):
    flags = ["--overlays", "--confidence", "--coco", "--label-studio", "x", "--processes", "1"]
    Path("photographs/bad.jpg").write_text("")
    arguments = ["photographs", "--weights", "results/demo", "--out", "o", *flags]
    monkeypatch.setattr(sys, "argv", ["rca", "predict", *arguments])
    with pytest.raises(SystemExit):
        cli.main()
    written = {file.name if file.is_file() else f"{file.name}/" for file in Path("o").iterdir()}
    named = {
        name.replace("<name>.png", "").replace("<name>.jpg", "")
        for row in re.findall(r"^\| (.*)$", PAGE, re.MULTILINE)
        for name in re.findall(r"`([\w/<>]+\.\w+)`", row)
    }
    assert written == named - {"index.classes"}
