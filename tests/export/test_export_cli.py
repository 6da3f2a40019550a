"""`rca export` and `rca register`, from the command line to what is printed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from rca import cli
from rca.export import formats
from rca.tracking import registry


def rca(monkeypatch, *arguments: str) -> int:
    """Exit status of `rca arguments`."""
    monkeypatch.setattr(sys, "argv", ["rca", *arguments])
    try:
        cli.main()
    except SystemExit as end:
        return end.code or 0
    return 0


def test_export__writes_a_folder_for_the_hub(weights, tmp_path, monkeypatch, capsys):
    out = tmp_path / "animals"

    assert rca(monkeypatch, "export", str(weights), "--out", str(out), "--format=huggingface") == 0

    assert capsys.readouterr().out == f"{out}\n"
    names = {"README.md", "config.json", "model.safetensors", "preprocessor_config.json"}
    assert {file.name for file in out.iterdir()} == names
    assert (out / "README.md").read_text().count("# animals") == 1


def test_export__hands_its_options_on(monkeypatch, tmp_path):
    given = {}
    monkeypatch.setattr(formats, "export", lambda *paths, **options: given.update(options))

    assert rca(
        monkeypatch, "export", "w.safetensors", "--out", "n.onnx", "--precision", "float16",
        "--photographs", "p", "--results", "r", "--licence", "mit",
    ) == 0  # fmt: skip

    assert given == {
        "out": Path("n.onnx"),
        "form": "onnx",
        "precision": "float16",
        "photographs": Path("p"),
        "results": Path("r"),
        "licence": "mit",
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export", "none.safetensors", "--out", "n.pt2", "--format=torch"], "no such file"),
        (["export", "none.safetensors", "--out", "n.txt"], "is called *.onnx"),
        (["register", "none", "--name", "animals"], "track the run first"),
    ],
)
def test_what_the_user_can_mend_is_one_line(monkeypatch, tmp_path, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)

    assert rca(monkeypatch, *arguments) == 2

    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("rca: ")]
    assert message in line


def test_register__prints_the_address(monkeypatch, capsys):
    found = registry.Registered("3", "models:/animals@champion")
    monkeypatch.setattr(registry, "register", lambda *_, **options: found)

    assert rca(monkeypatch, "register", "results/demo", "--name", "animals") == 0

    assert capsys.readouterr().out == "animals version 3: models:/animals@champion\n"
