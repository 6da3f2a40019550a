"""Exported networks compute what the network computes, and are refused where they do not."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import rca
from rca.config import ConfigError
from rca.export import formats, onnx_model
from rca.export.agreement import Agreement, compare, read_photographs, require
from rca.sources.unpacking import contents

pytestmark = pytest.mark.slow

SAMPLE = Path(__file__).parents[2] / "data/embedded/voc12_animals_sample.tar"

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module", params=["float32", "float16"])
def exported(request, weights, tmp_path_factory):
    """Precision, and the file that was exported in it."""
    out = tmp_path_factory.mktemp(request.param) / "network.onnx"
    formats.export(weights, out=out, form="onnx", precision=request.param, photographs=SAMPLE)
    return request.param, out


@pytest.mark.parametrize("shape", [(1, 3, 64, 200), (3, 3, 131, 77)])
def test_onnx__gives_the_networks_logits_at_any_size_and_batch(exported, network, shape):
    precision, file = exported
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])

    (logits,) = session.run(["logits"], {"pixel_values": images.numpy()})

    with torch.no_grad():
        expected = network(images)
    tolerance = {"float32": 1e-4, "float16": 2e-2}[precision]
    assert logits.dtype == "float32"
    assert expected.abs().max() > 1
    torch.testing.assert_close(torch.from_numpy(logits), expected, rtol=0, atol=tolerance)


def test_onnx__says_what_it_is(exported):
    precision, file = exported
    model = onnx.load(file)
    said = {entry.key: entry.value for entry in model.metadata_props}

    assert {entry.domain: entry.version for entry in model.opset_import}[""] == onnx_model.OPSET
    assert json.loads(said["labels"]) == ["background", "cat", "dog"]
    assert json.loads(said["image_mean"]) == [0.485, 0.456, 0.406]
    assert json.loads(said["training"])["head"] == "deeplab_v2"
    assert said["precision"] == precision
    assert said["input"].startswith("pixel_values: float32")
    assert str(Path(rca.__file__).parent).encode() not in file.read_bytes()
    names = [dim.dim_param for dim in model.graph.input[0].type.tensor_type.shape.dim]
    assert names == ["batch", "", "height", "width"]


def test_onnx__of_float16_has_half_the_size(weights, tmp_path, exported):
    precision, file = exported
    share = file.stat().st_size / weights.stat().st_size
    assert share > 0.9 if precision == "float32" else share < 0.9


@pytest.fixture(scope="module")
def program(weights, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("program") / "network.pt2"
    formats.export(weights, out=out, form="torch", photographs=SAMPLE)
    return out


def test_torch__is_loaded_without_this_package(program, network, tmp_path):
    images = torch.randn(2, 3, 80, 96)
    torch.save(images, tmp_path / "images.pt")
    code = """
import json, sys, torch
sys.modules["rca"] = None
extra = {"description.json": ""}
program = torch.export.load(sys.argv[1], extra_files=extra)
assert json.loads(extra["description.json"])["labels"] == ["background", "cat", "dog"]
torch.save(program.module()(torch.load("images.pt")), "logits.pt")
"""

    subprocess.run([sys.executable, "-I", "-c", code, program], cwd=tmp_path, check=True)

    with torch.no_grad():
        torch.testing.assert_close(torch.load(tmp_path / "logits.pt"), network(images))
    content = program.read_bytes()
    assert str(Path(rca.__file__).parent).encode() not in content  # nor any path of this machine
    assert str(program.parent).encode() not in content


@pytest.mark.parametrize(
    "spoil",
    [
        lambda logits: logits + 0.01,  # another logit
        lambda logits: logits * float("nan"),
        lambda logits: logits[:1],  # ignores the batch
    ],
)
def test_export__keeps_nothing_that_computes_something_else(
    weights, network, tmp_path, monkeypatch, spoil
):
    out, written = tmp_path / "network.pt2", formats.torch_program
    monkeypatch.setattr(written, "write_program", lambda path, *_: path.touch())
    monkeypatch.setattr(written, "read_program", lambda _: lambda images: spoil(network(images)))

    with pytest.raises(ConfigError, match=r"does not compute|gives"):
        formats.export(weights, out=out, form="torch", photographs=SAMPLE)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("found", "precision", "holds"),
    [
        (Agreement(8, 9e-5, 9e-5, 1.0), "float32", True),
        (Agreement(8, 2e-4, 9e-5, 1.0), "float32", False),
        (Agreement(8, 2e-4, 0.02, 0.995), "float16", True),
        (Agreement(8, 2e-4, 0.04, 0.995), "float16", False),
        (Agreement(8, 2e-4, 0.02, 0.98), "float16", False),
    ],
)
def test_require__holds_each_precision_to_its_tolerance(found, precision, holds):
    if holds:
        require(found, precision, "file")
    else:
        with pytest.raises(ConfigError, match="file does not compute"):
            require(found, precision, "file")


def test_compare__finds_one_pixel_that_differs_in_a_batch_of_several(network):
    photographs = read_photographs(SAMPLE, count=2)

    def exported(images):
        logits = network(images).clone()
        if len(images) == 2:
            logits[1, 1, 5, 7] += 1000.0
        return logits

    same, other = (compare(network, with_, photographs) for with_ in (network, exported))

    assert (same.logits, same.probabilities, same.labels) == (0, 0, 1)
    assert other.logits > 1 and other.probabilities > 0.1 and other.labels < 1


def test_read_photographs__takes_colour_images_of_folders_and_archives(tmp_path):
    from PIL import Image

    Image.new("RGB", (900, 600)).save(tmp_path / "large.jpg")
    Image.new("RGB", (40, 200)).save(tmp_path / "narrow.png")
    Image.new("P", (200, 200)).save(tmp_path / "mask.png")

    assert [image.shape for image in read_photographs(tmp_path)] == [(3, 341, 512)]
    assert len(read_photographs(SAMPLE, count=3)) == 3


def test_read_photographs__says_what_is_missing(tmp_path):
    with pytest.raises(ConfigError, match="no colour photograph"):
        read_photographs(tmp_path)
    with pytest.raises(ConfigError, match="no such folder or archive"):
        read_photographs(tmp_path / "none")


@pytest.mark.parametrize(
    ("out", "options", "message"),
    [
        ("network.pt", {"form": "torch"}, "called \\*.pt2"),
        ("network.onnx", {"form": "huggingface"}, "writes a folder"),
        ("network.pt2", {"form": "torch", "precision": "float16"}, "onnx only"),
        ("network.onnx", {"form": "onnx", "licence": "mit"}, "model card"),
    ],
)
def test_export__refuses_options_that_do_not_go_together(weights, tmp_path, out, options, message):
    with pytest.raises(ConfigError, match=message):
        formats.export(weights, out=tmp_path / out, photographs=SAMPLE, **options)


def test_export__without_onnx_says_what_to_install(weights, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)

    with pytest.raises(ConfigError, match=r"onnxscript is not installed.*rca-wsss\[export\]"):
        formats.export(weights, out=tmp_path / "n.onnx", form="onnx", photographs=SAMPLE)


@pytest.mark.parametrize("heading", ["ONNX, without", "torch.export, without"])
def test_docs__examples_run_where_this_package_is_not(exported, program, tmp_path, heading):
    if exported[0] == "float16" and heading.startswith("torch"):
        pytest.skip("there is one .pt2 file")
    page = Path("docs/guides/export.md").read_text(encoding="utf-8")
    code = page.partition(f"## {heading}")[2].partition("```python\n")[2].partition("```")[0]
    shutil.copyfile(exported[1], tmp_path / "animals.onnx")
    shutil.copyfile(program, tmp_path / "animals.pt2")
    _, photograph = next(contents(SAMPLE, lambda name: name.endswith(".jpg")))
    (tmp_path / "photograph.jpg").write_bytes(photograph)
    hidden = ["rca", "torch"] if heading.startswith("ONNX") else ["rca"]
    code = f"import sys; sys.modules.update(dict.fromkeys({hidden}))\n{code}"

    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True
    )

    assert "background" in run.stdout
