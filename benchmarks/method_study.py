"""What each part of the method is worth: variants × seeds, with equal steps and two readouts.

    python -m benchmarks.method_study --data FOLDER --jobs 2     measure what is not measured yet
    python -m benchmarks.method_study --render                   only render the tables in the docs

FOLDER is a VOC-like folder, as data/embedded/README.md describes; without `classes.txt` its mask
values are VOC's. The base is benchmarks/method_base.yaml; method_variants.py says what each variant
changes in it. Variants with the same training share its weights, and all trainings of a seed share
the frozen blocks' features of its views. A killed study resumes.

Every image of the training list trains the classifier. Every n-th of them, by name, is scored
(`--every`): its label map, before and after the CRF, against its true mask, with its tags known, as
is usual in this field for training images. The validation images are scored too, with the classes
that the network finds. Maps are read in two ways: from the CAM head, cut at the base's threshold,
and from prototypes fitted to the scored images. Neither sees a mask. For the main variants, a
segmentation network is also trained on the refined labels that the prototypes gave, and scored on
the validation images.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.masks import decided, make_labels, miou, stored
from benchmarks.method_figure import figure
from benchmarks.method_record import MEASURES, RECORD, measured, read_runs, summary, table
from benchmarks.method_variants import EVERYTHING, READINGS, TRIALS, VARIANTS, overridden
from rca.config import ConfigError, IndexSection, Params, load
from rca.data.cam_store import CamStore
from rca.data.index import read_index
from rca.runtime.files import new_folder, write_json, write_text
from rca.runtime.pool import ordered_map
from tools.records import origin, place_tables

BASE = Path("benchmarks/method_base.yaml")
STUDY = Path("docs/explanation/study.md")
FIGURE = Path("docs/pictures/study.svg")
TABLES = (  # page, mark in it, rows, columns
    (STUDY, f"{RECORD}#variants", VARIANTS, ("cams.crf", "prototypes.maps", "prototypes.crf")),
    (STUDY, f"{RECORD}#validation", VARIANTS, ("prototypes.val_maps", "prototypes.network")),
    (STUDY, f"{RECORD}#trials", TRIALS, ("cams.crf", "prototypes.maps", "prototypes.crf")),
)
VOC = (
    "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike "
    "person pottedplant sheep sofa train tvmonitor"
)


def prepare(data: Path, work: Path, base: Params, every: int) -> None:
    """Link the data into `work`, and make the indices of all images and of the scored ones.

    Raises:
        ConfigError: `work` belongs to other data.
    """
    from rca.stages import index as stage

    setting = {
        "data": data.resolve().as_posix(),
        "every": every,
        "index": base.index.model_dump(mode="json"),
    }
    mark = work / "setting.json"
    if not mark.exists():
        write_json(mark, setting)
    elif json.loads(mark.read_text(encoding="utf-8")) != setting:
        raise ConfigError(f"{mark}: this folder measures other data; choose another --work")
    if not (work / "data").exists():
        with new_folder(work / "data") as folder:
            _link(data, folder, base.index, every)
    lists = {"all": (base.index.train_list, "one"), "scored": ("scored", base.index.val_list)}
    for name, (train_list, val_list) in lists.items():
        if not (work / "index" / name).exists():
            cfg = base.index.model_copy(update={"train_list": train_list, "val_list": val_list})
            stage.run(cfg, data=work / "data", out=work / "index" / name)


def measure(work: Path, task: Mapping[str, Params]) -> list[str]:
    """Train once, then score each variant of that training; return the files written.

    Args:
        work: The folder that `prepare` has filled.
        task: The variants with their parameters, all of the same training and seed.
    """
    params = next(iter(task.values()))
    trained = work / "trained" / f"{params.train_cam.digest()}-{params.seed}"
    if not (trained / "seconds.json").exists():
        try:
            _train(work, trained, params)
        except FloatingPointError as error:  # a result too: this training gives no network
            return [str(_diverged(work, name, task[name], error)) for name in task]
    seconds = json.loads((trained / "seconds.json").read_text(encoding="utf-8"))
    return [str(_score(work, trained, name, task[name], seconds)) for name in task]


def _train(work: Path, trained: Path, params: Params) -> None:
    from rca.stages import train_cam

    begun = time.perf_counter()
    train_cam.run(
        params.train_cam,
        params.compute,
        params.seed,
        index=work / "index" / "all",
        out=trained,
        state=work / "state",
        views=work / "views",
    )
    write_json(trained / "seconds.json", {"train_cam": time.perf_counter() - begun})


def _diverged(work: Path, variant: str, params: Params, error: FloatingPointError) -> Path:
    """Write the run of a training whose loss left the numbers: without a score."""
    path = _result(work, variant, params.seed)
    content = {**_identity(variant, params), "miou": {name: {} for name in READINGS}}
    write_json(path, {**content, "diverged": str(error)})
    return path


def _identity(variant: str, params: Params) -> dict[str, Any]:
    return {
        "variant": variant,
        "seed": params.seed,
        "commit": origin()["commit"],
        "params": measured(params),
    }


def _score(
    work: Path, trained: Path, variant: str, params: Params, seconds: dict[str, float]
) -> Path:
    from rca.stages import infer_cam

    path = _result(work, variant, params.seed)
    folder, index = path.with_suffix(""), work / "index" / "scored"
    begun = time.perf_counter()
    infer_cam.run(
        params.infer_cam,
        params.compute,
        index=index,
        weights=trained / "weights.safetensors",
        attention=trained / "attention.safetensors",
        state=work / "state",
        out=folder / "infer_cam",
    )
    seconds = {**seconds, "infer_cam": time.perf_counter() - begun}
    scores: dict[str, dict[str, float | None]] = {}
    for reading, changes in READINGS.items():
        read = overridden(params, changes)
        begun = time.perf_counter()
        if (folder / reading).exists():  # it may be of other parameters
            shutil.rmtree(folder / reading)
        make_labels(
            read,
            index=index,
            weights=trained / "weights.safetensors",
            cams=folder / "infer_cam",
            out=folder / reading,
            state=work / "state",
        )
        if EVERYTHING[variant].network and reading == "prototypes":
            _train_network(work, folder / reading, read)
        scores[reading] = _scores(index, folder / reading, read)
        seconds[reading] = time.perf_counter() - begun
    history = np.genfromtxt(trained / "history.csv", delimiter=",", names=True)
    columns = history.dtype.names or ()
    write_json(
        path,
        {
            **_identity(variant, params),
            "miou": scores,
            "losses": {name: np.atleast_1d(history[name]).tolist() for name in columns},
            "seconds": {name: round(value, 1) for name, value in seconds.items()},
        },
    )
    return path


def _train_network(work: Path, folder: Path, params: Params) -> None:
    """Train the segmentation network on the refined labels, and segment the validation images."""
    from rca.stages import infer_seg, train_seg

    index, state = work / "index" / "scored", work / "state"
    train_seg.run(
        params.train_seg,
        params.compute,
        params.seed,
        supervision="pseudo",
        index=index,
        labels=folder / "crf",
        out=folder / "train_seg",
        state=state,
    )
    infer_seg.run(
        params.infer_seg,
        params.crf,
        params.compute,
        index=index,
        weights=folder / "train_seg" / "weights.safetensors",
        out=folder / "infer_seg",
        state=state,
    )


def _scores(index: Path, folder: Path, params: Params) -> dict[str, float | None]:
    """Score the label maps before and after the CRF, validation maps and network: mIoU in %."""
    data = read_index(index)
    masks = {"maps": "pseudo_labels", "crf": "crf", "network": "infer_seg"}
    found = {}
    for measure in MEASURES:
        records = data.split("train" if measure in ("maps", "crf") else "val")
        labels_of = partial(stored, folder / masks.get(measure, ""))
        if measure == "val_maps":
            store = CamStore(folder / "readout" / "val")
            labels_of = partial(decided, store, params.pseudo_labels)
        elif not (folder / masks[measure]).exists():
            continue
        found[measure] = _percent(miou(data, records, labels_of))
    return found


def _percent(value: float) -> float | None:
    return None if np.isnan(value) else round(100 * float(value), 3)


def _result(work: Path, variant: str, seed: int) -> Path:
    return work / "runs" / f"{variant}-{seed}.json"


def _link(data: Path, folder: Path, cfg: IndexSection, every: int) -> None:
    """Link `data` into `folder`; list the scored images, and VOC's classes if it names none."""
    for item in data.iterdir():
        if item.name not in ("ImageSets", "saliency"):
            (folder / item.name).symlink_to(item.resolve())
    if not (folder / "classes.txt").exists():
        write_text(folder / "classes.txt", "\n".join(VOC.split()) + "\n")
    lists = folder / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for item in (data / "ImageSets" / "Segmentation").iterdir():
        (lists / item.name).symlink_to(item.resolve())
    names = sorted(_names(lists, cfg.train_list)[: cfg.limit])
    write_text(lists / "scored.txt", "\n".join(names[::every]) + "\n")
    # The classifier's training needs no validation image, but an index must have one.
    write_text(lists / "one.txt", _names(lists, cfg.val_list)[0] + "\n")


def _names(lists: Path, name: str) -> list[str]:
    return (lists / f"{name}.txt").read_text(encoding="utf-8").split()


def _tasks(
    work: Path, base: Params, variants: Sequence[str], seeds: Sequence[int]
) -> list[dict[str, Params]]:
    """Group what is left to measure by training; results of other parameters are redone."""
    tasks: dict[tuple[int, str], dict[str, Params]] = {}
    for seed in seeds:
        for name in variants:
            params = overridden(base, {**EVERYTHING[name].changes, "seed": seed})
            path = _result(work, name, seed)
            if path.exists():
                known = json.loads(path.read_text(encoding="utf-8"))["params"]
                if known == measured(params):
                    continue
            tasks.setdefault((seed, params.train_cam.digest()), {})[name] = params
    return list(tasks.values())


def _options() -> argparse.Namespace:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--data", type=Path, help="VOC-like folder")
    options.add_argument("--work", type=Path, default=Path("results/method_study"))
    options.add_argument("--out", type=Path, default=RECORD)
    options.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=EVERYTHING)
    options.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    options.add_argument("--every", type=int, default=6, help="score every n-th training image")
    options.add_argument("--jobs", type=int, default=1, help="trainings at a time")
    options.add_argument(
        "--set", nargs="+", default=[], metavar="KEY=VALUE", help="change the base, to try"
    )
    options.add_argument("--render", action="store_true", help="only render the tables")
    return options.parse_args()


def main() -> None:
    """Measure unless `--render` is given, then render the record's tables."""
    options = _options()
    if not options.render:
        changes = dict(item.split("=", 1) for item in options.set)
        base = overridden(load(BASE), {key: yaml.safe_load(text) for key, text in changes.items()})
        prepare(options.data, options.work, base, options.every)
        tasks = _tasks(options.work, base, options.variants, options.seeds)
        named = (
            (f"{', '.join(task)}, seed {next(iter(task.values())).seed}", task) for task in tasks
        )
        for files in ordered_map(partial(measure, options.work), named, options.jobs):
            print(*files, sep="\n", flush=True)
        write_json(options.out, summary(read_runs(options.work / "runs"), base, options.every))
    if options.out == RECORD:
        _render(json.loads(RECORD.read_text(encoding="utf-8")))


def _render(content: dict[str, Any]) -> None:
    write_text(FIGURE, figure(content, list(VARIANTS)))
    for page, mark, names, columns in TABLES:
        place_tables(page, {mark: table(content, names, columns)})


if __name__ == "__main__":
    main()
