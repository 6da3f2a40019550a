"""Cost of a checkpoint of `train_cam`: its size, and its time relative to that of a step.

    python -m benchmarks.checkpoint_cost

Writes benchmarks/results/checkpoint_cost.json. Times are CPU times, so that other work on the
machine does not count; nor does the disk, to which the kernel writes later.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from rca import config
from rca.config import TrainCam
from rca.models.cam_network import CamNetwork
from rca.runtime.files import write_json
from rca.training.cam_training import memory_bank
from rca.training.checkpoint import write_state
from rca.training.optimiser import build_optimiser
from tools.records import origin

RECORD = Path("benchmarks/results/checkpoint_cost.json")
CONFIGURATIONS = ("params.yaml", "configs/voc12_paper.yaml")
CLASSES = 20
REPEATS = 3


def main() -> None:
    """Measure each configuration, and write the record."""
    torch.set_num_threads(1)
    measured = {name: measure(config.load(Path(name)).train_cam) for name in CONFIGURATIONS}
    for name, result in measured.items():
        print(name, result)
    write_json(RECORD, {"origin": origin(), "checkpoints": measured})


def measure(cfg: TrainCam) -> dict[str, float]:
    """Measure a checkpoint: megabytes, seconds to write it, and those of a step on one thread."""
    backbone = cfg.backbone.model_copy(update={"weights": "none"})
    network = CamNetwork(CLASSES, cfg.model_copy(update={"backbone": backbone})).train()
    memory = memory_bank(cfg, CLASSES, network, torch.Generator().manual_seed(0))
    optimiser = build_optimiser(network, cfg.optimiser)
    images = torch.randn(cfg.batch_size, 3, cfg.view.size, cfg.view.size)

    def step() -> None:
        maps = network(images)
        (maps.final.mean() + maps.coarse.mean()).backward()
        optimiser.step()

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "state"
        step_seconds = seconds(step)
        state = {
            name: part.state_dict()
            for name, part in (("network", network), ("memory", memory), ("optimiser", optimiser))
        }
        write_seconds = seconds(lambda: write_state(file, state))
        size = file.stat().st_size
    return {
        "megabytes": round(size / 1e6, 1),
        "write_seconds": round(write_seconds, 3),
        "step_seconds": round(step_seconds, 2),
        "steps_per_write": round(write_seconds / step_seconds, 4),
    }


def seconds(work: Callable[[], None]) -> float:
    """Return the median CPU time of a few runs of `work`."""
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return statistics.median(times)


if __name__ == "__main__":
    main()
