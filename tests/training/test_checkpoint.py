"""What is written is what is read; what is damaged is said to be; signals stop between steps."""

from __future__ import annotations

import logging
import os
import signal

import pytest
import torch
from torch import nn

from rca.training.checkpoint import Checkpoints, GeneratorState, read_state, write_state


def same(a, b) -> bool:
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b) and a.stride() == b.stride()
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


STATE = {
    "module": {"weight": torch.randn(2, 3, 4, 5), "count": torch.tensor(3)},
    "last": torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
    "optimiser": {
        "state": {0: {"buffer": torch.randn(3).half(), "none": None}},
        "groups": [{"lr": 0.1}],
    },
    "history": [{"loss": 0.1 + 0.2}, {"loss": float("inf")}],
    "seen": torch.tensor([True, False]),
    "none": torch.zeros(0, 4),
}


def test_state__comes_back_as_it_was(tmp_path):
    write_state(tmp_path / "state", STATE)
    assert same(read_state(tmp_path / "state"), STATE)


@pytest.mark.parametrize("change", ["cut", "flip", "empty", "none"])
def test_read_state__sees_every_damage(tmp_path, change):
    path = tmp_path / "state"
    write_state(path, STATE)
    content = bytearray(path.read_bytes())
    if change == "cut":
        content = content[:-1]
    elif change == "flip":
        content[-30] ^= 1
    elif change == "empty":
        content.clear()
    path.write_bytes(content)
    if change == "none":
        path.unlink()
    with pytest.raises(ValueError, match=r"cannot be read|checksum"):
        read_state(path)


def parts() -> dict:
    return {"net": nn.Linear(2, 2), "draws": GeneratorState(torch.Generator())}


def checkpoints(folder, every=1, **content) -> Checkpoints:
    return Checkpoints(folder, every, content or parts())


def test_checkpoints__keep_the_last_two_and_restore_the_last(tmp_path):
    content = parts()
    written = checkpoints(tmp_path, **content)
    for step in range(1, 5):
        nn.init.constant_(content["net"].weight, step)
        written.after_step(step)
    draws = torch.rand(3, generator=content["draws"].generator)
    assert [file.name[5:14] for file in sorted(tmp_path.iterdir())] == ["000000003", "000000004"]

    fresh = parts()
    checkpoints(tmp_path, **fresh).restore()
    assert (fresh["net"].weight == 4).all()
    assert torch.equal(torch.rand(3, generator=fresh["draws"].generator), draws)

    written.remove()
    assert not tmp_path.exists()


def test_checkpoints__every_few_steps(tmp_path):
    written = checkpoints(tmp_path, every=3)
    for step in range(1, 6):
        written.after_step(step)
        assert len(list(tmp_path.iterdir())) == (step >= 3)


def test_restore__sets_a_damaged_one_aside_and_takes_the_one_before(tmp_path, caplog):
    content = parts()
    written = checkpoints(tmp_path, **content)
    for step in (1, 2):
        nn.init.constant_(content["net"].weight, step)
        written.after_step(step)
    newest = tmp_path / "step-000000002.safetensors"
    newest.write_bytes(newest.read_bytes()[:100])

    fresh = parts()
    with caplog.at_level(logging.WARNING):
        checkpoints(tmp_path, **fresh).restore()

    assert (fresh["net"].weight == 1).all()
    assert not newest.exists() and newest.with_suffix(".damaged").exists()
    assert "step-000000002.safetensors: damaged (cannot be read" in caplog.text


def test_restore__without_checkpoints_leaves_all_as_it_is(tmp_path):
    fresh = parts()
    before = fresh["net"].weight.clone()
    checkpoints(tmp_path / "none", **fresh).restore()
    assert torch.equal(fresh["net"].weight, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_signal__is_obeyed_after_the_step_under_way(tmp_path, caplog, number):
    written = checkpoints(tmp_path, every=0)
    before = signal.getsignal(number)
    with written.listening():
        written.after_step(6)
        assert not list(tmp_path.iterdir())
        os.kill(os.getpid(), number)
        with pytest.raises(SystemExit) as end, caplog.at_level(logging.WARNING):
            written.after_step(7)
    assert end.value.code == 128 + number
    assert (tmp_path / "step-000000007.safetensors").exists()
    assert f"{number.name}: stopped after step 7" in caplog.text
    assert signal.getsignal(number) == before
