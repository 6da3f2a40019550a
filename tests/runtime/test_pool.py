from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rca.runtime import pool
from rca.runtime.pool import THREAD_VARIABLES, WorkerError, available_cores, ordered_map


# Work for the processes: they import it by name.
def square(value: int) -> int:
    time.sleep(0.05 if value == 0 else 0)  # the first ends last
    return value * value


def invert(value: int) -> float:
    return 1 / value


def end_abruptly(value: int) -> int:
    if value == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return value


def environment(_: int) -> tuple[int, dict[str, str | None]]:
    return os.getpid(), {name: os.environ.get(name) for name in THREAD_VARIABLES}


def named(values):
    return [(f"image {value}", value) for value in values]


@pytest.mark.parametrize("processes", [1, 2])
def test_ordered_map__keeps_the_order(processes):
    assert list(ordered_map(square, named(range(9)), processes)) == [n * n for n in range(9)]


def test_ordered_map__no_items():
    assert list(ordered_map(square, [], 2)) == []


@pytest.mark.parametrize("processes", [1, 2])
def test_ordered_map__error_keeps_its_type_and_names_the_item(processes):
    results = ordered_map(invert, named([1, 2, 0, 0, 4]), processes)
    assert [next(results), next(results)] == [1, 0.5]
    with pytest.raises(ZeroDivisionError) as caught:
        next(results)
    assert caught.value.__notes__ == ["while working on image 0"]
    assert list(results) == []


def test_ordered_map__killed_worker_is_one_clear_error():
    with pytest.raises(WorkerError, match=r"killed at image \d or soon after it") as caught:
        list(ordered_map(end_abruptly, named(range(20)), 2))
    assert caught.value.__cause__ is None


def test_ordered_map__processes_have_one_thread(monkeypatch):
    for name in THREAD_VARIABLES:
        monkeypatch.setenv(name, "7")
    [(process, variables)] = ordered_map(environment, named([0]), 2)
    assert process != os.getpid()
    assert variables == dict.fromkeys(THREAD_VARIABLES, "1")
    assert os.environ["OMP_NUM_THREADS"] == "7"


def test_ordered_map__takes_items_as_they_are_needed():
    taken = []

    def items():
        for value in range(100):
            taken.append(value)
            yield f"image {value}", value

    results = ordered_map(square, items(), 2)
    next(results)
    assert len(taken) < 10
    results.close()


def test_ordered_map__zero_takes_every_core(monkeypatch):
    monkeypatch.setattr(pool, "available_cores", lambda: 1)
    [(process, _)] = ordered_map(environment, named([0]), 0)
    assert process == os.getpid()


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no affinity on this system")
def test_available_cores__affinity_and_slurm(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)))
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    assert available_cores() == 6
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "4")
    assert available_cores() == 4
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "64")
    assert available_cores() == 6


PARENT = """
import sys
sys.path.insert(0, {tests!r})
import test_pool
from rca.runtime.pool import ordered_map
if __name__ == "__main__":
    for process, _ in ordered_map(test_pool.environment, test_pool.named(range(2)), 2):
        print(process, flush=True)
        input()
"""


def test_ordered_map__workers_end_with_a_killed_parent(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT.format(tests=str(Path(__file__).parent)))
    with subprocess.Popen(
        [sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        worker = int(parent.stdout.readline())
        os.kill(worker, 0)  # it lives
        parent.kill()
    deadline = time.monotonic() + 60
    while running(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not running(worker)


def running(process: int) -> bool:
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
