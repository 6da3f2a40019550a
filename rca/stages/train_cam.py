"""Stage `train_cam`: train the classification network, with RSC, RSA and OAA as configured."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from torch import Tensor

from rca.config import Compute, ConfigError, TrainCam
from rca.data.cam_store import CamShard
from rca.data.datasets import TrainingBatches, TrainingImages
from rca.data.index import Index, read_training_index
from rca.method.accumulation import AttentionStore
from rca.method.cams import normalise_cams
from rca.models.device import prepare
from rca.models.weights import save_weights
from rca.runtime.files import new_folder
from rca.runtime.state import STATE, state_folder
from rca.training.cam_training import Parts, begin_epoch, build, combine, step, training_tags
from rca.training.checkpoint import Checkpoints
from rca.training.distributed import is_first, processes, rank, session
from rca.training.form import loss_scaler, training_form, traits
from rca.training.frozen_views import FrozenViews
from rca.training.loop import train, write_history
from rca.training.optimiser import build_optimiser
from rca.training.seeds import derive_seed, generator, global_seed


def run(
    cfg: TrainCam,
    compute: Compute,
    seed: int,
    *,
    index: Path,
    out: Path,
    state: Path = STATE,
    views: Path | None = None,
) -> None:
    """Train on the index's training images and tags; masks and validation images are out of reach.

    A killed training goes on.

    Args:
        cfg: section `train_cam`.
        compute: device and threads.
        seed: of every random choice.
        index: folder of the index.
        out: folder that gets `weights.safetensors`, `history.csv` and `attention.safetensors`, the
            accumulated maps in the form of a CAM store; without OAA it holds none.
        state: where checkpoints are kept.
        views: folder for the output of the frozen blocks, for several trainings with the same
            views: `FrozenViews`. None computes them in each step, as the pipeline does.

    Raises:
        ConfigError: `views` with OAA++'s drop layer, which erases from the photographs.
    """
    data = read_training_index(index)
    if views and cfg.attention.drop:
        raise ConfigError("attention.drop: erases from photographs, but only features are kept")
    device = prepare(compute)
    seeds = partial(generator, seed, "train_cam")
    with session(device), global_seed(derive_seed(seed, "train_cam", "weights"), device):
        parts = build(cfg, data, seeds("memory"), device)
        values = {
            "section": cfg.model_dump(mode="json"),
            "seed": seed,
            "views": views is not None,
            **traits(compute, device),
        }
        files = [*index.iterdir(), *cfg.backbone.files()]
        files += [record.file for record in data.split("train")]
        folder = state_folder(state, __name__, out, values=values, files=files)
        checkpoints = Checkpoints(folder, compute.checkpoint_steps, parts.named())
        late = parts.network.query_head is not None  # it rests until there is contrast
        network = training_form(parts.network, compute, device, late)
        images = TrainingImages(data.split("train"), training_tags(data), cfg.view, seeds)
        if views:
            images = FrozenViews(images, parts.network.backbone, cfg.backbone, seed, views)
        with checkpoints.listening():
            history = train(
                partial(begin_epoch, parts, cfg, seeds),
                partial(step, parts, network, cfg, compute, seeds),
                TrainingBatches(images, cfg.batch_size, compute.workers, rank(), processes()),
                build_optimiser(parts.network, cfg.optimiser, parts.projection),
                cfg.optimiser,
                cfg.epochs,
                checkpoints,
                loss_scaler(compute, device),
            )
            combine(parts.attention)
            if is_first():
                _write(out, parts, history, data, cfg)
        checkpoints.remove()


def _write(
    out: Path, parts: Parts, history: list[dict[str, float]], data: Index, cfg: TrainCam
) -> None:
    with new_folder(out) as folder:
        save_weights(folder / "weights.safetensors", parts.network, data.classes, cfg)
        write_history(folder / "history.csv", history)
        _write_attention(folder / "attention.safetensors", parts.attention, training_tags(data))


def _write_attention(path: Path, attention: AttentionStore | None, tags: Tensor) -> None:
    """The accumulated maps of each image's tags, each scaled to a maximum of 1."""
    shard = CamShard(bits=16)
    if attention is not None:
        for image, present in zip(attention.index, tags.bool(), strict=True):
            maps = normalise_cams(attention.get([image]))[0].cpu()
            shard.add(image, present.nonzero()[:, 0].numpy(), maps[present].numpy())
    shard.write(path)
