"""The note of a machine is found by what was made there, and by nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rca.tracking import machine


@pytest.fixture
def weights(tmp_path) -> Path:
    file = tmp_path / "weights.safetensors"
    file.write_bytes(b"weights")
    return file


def test_noted__is_the_machine_of_the_same_bytes(weights, tmp_path):
    machine.note(weights, {"processor": "A"}, tmp_path)
    same = tmp_path / "same"
    same.write_bytes(b"weights")

    assert machine.noted(same, tmp_path) == {"processor": "A"}


def test_noted__of_other_bytes_or_none_is_nothing(weights, tmp_path):
    machine.note(weights, {"processor": "A"}, tmp_path)
    weights.write_bytes(b"other")

    assert machine.noted(weights, tmp_path) == {}
    assert machine.noted(tmp_path / "missing", tmp_path) == {}


def test_describe__names_gpus_where_they_may_be_used(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: f"GPU {number}")

    assert machine.describe(gpus=True)["gpus"] == "GPU 0, GPU 1"
    facts = machine.describe(gpus=False)
    assert "gpus" not in facts and torch.__version__.startswith(facts["torch"])
    assert facts["processor"] and int(facts["cores"]) > 0 and float(facts["memory"].split()[0]) > 0
