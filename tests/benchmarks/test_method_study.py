"""The study of the method's parts: what its variants are, and what it makes of their runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import method_cost, method_figure, method_record, method_study
from benchmarks.method_variants import EVERYTHING, READINGS, VARIANTS, overridden
from rca.config import ConfigError, load

BASE = load(method_study.BASE)


def run(variant: str, seed: int, crf: float) -> dict:
    scores = {"maps": 40.0, "crf": crf, "val_maps": 30.0}
    return {"variant": variant, "seed": seed, "miou": dict.fromkeys(READINGS, scores)}


def test_variants__are_valid_and_differ_from_one_another():
    every = [overridden(BASE, variant.changes) for variant in VARIANTS.values()]
    for params in every:
        same = params.model_copy(update={"train_cam": BASE.train_cam, "infer_cam": BASE.infer_cam})
        for reading in READINGS.values():
            assert overridden(same, reading) == overridden(BASE, reading)  # nothing else changes
    assert len({params.train_cam.digest() for params in every}) == len(every)
    for variant in EVERYTHING.values():
        for changes in READINGS.values():
            overridden(overridden(BASE, variant.changes), changes)  # is valid


def test_variants__take_the_same_steps_on_the_same_views():
    for variant in VARIANTS.values():
        cfg = overridden(BASE, variant.changes).train_cam
        for name in ("epochs", "batch_size", "view", "optimiser"):
            assert getattr(cfg, name) == getattr(BASE.train_cam, name)


def test_variants__gain_over_one_of_as_many_steps_and_blocks():
    for variant in EVERYTHING.values():
        if variant.reference:
            cfg, reference = (
                overridden(BASE, changes).train_cam
                for changes in (variant.changes, EVERYTHING[variant.reference].changes)
            )
            assert (cfg.epochs, cfg.batch_size) == (reference.epochs, reference.batch_size)
            if variant != VARIANTS["imagenet"]:
                assert cfg.backbone == reference.backbone


def test_overridden__an_unknown_key_is_named():
    with pytest.raises(KeyError, match=r"train_cam\.rsc\.tau: no such key"):
        overridden(BASE, {"train_cam.rsc.tau": 1})


def test_prepare__lists_the_scored_images_and_refuses_other_data(tmp_path, monkeypatch):
    monkeypatch.setattr("rca.stages.index.run", lambda *_, **__: None)
    lists = tmp_path / "voc/ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("e\nd\nc\nb\na\n")
    (lists / "val.txt").write_text("f\ng\n")
    method_study.prepare(tmp_path / "voc", tmp_path / "work", BASE, every=2)
    folder = tmp_path / "work/data"
    assert (folder / "ImageSets/Segmentation/scored.txt").read_text().split() == ["a", "c", "e"]
    assert (folder / "classes.txt").read_text().split()[7] == "cat"
    with pytest.raises(ConfigError, match="choose another --work"):
        method_study.prepare(tmp_path / "voc", tmp_path / "work", BASE, every=3)


def test_tasks__skip_what_is_measured_with_the_same_parameters(tmp_path):
    names = ["baseline", "last_block", "rca"]
    everything = method_study._tasks(tmp_path, BASE, names, [0])
    assert [list(task) for task in everything] == [["baseline", "last_block"], ["rca"]]
    params = overridden(BASE, {**EVERYTHING["last_block"].changes, "seed": 0})
    path = tmp_path / "runs/last_block-0.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"params": method_record.measured(params)}))
    left = method_study._tasks(tmp_path, BASE, names, [0])
    assert [list(task) for task in left] == [["baseline"], ["rca"]]
    other = overridden(BASE, {"crf.iterations": 3})
    assert len(method_study._tasks(tmp_path, other, ["last_block"], [0])) == 1


def test_tasks__give_each_variant_of_a_training_its_own_parameters(tmp_path):
    (task,) = method_study._tasks(tmp_path, BASE, ["baseline", "last_block"], [0])
    assert task["baseline"].readout.blocks == [13, 16]
    assert task["last_block"].readout.blocks is None


def test_summarised__pairs_the_seeds():
    baseline = [run("baseline", seed, crf) for seed, crf in ((0, 40.0), (1, 50.0))]
    rca = [run("rca", seed, crf) for seed, crf in ((1, 53.0), (0, 42.0))]
    found = method_record.summarised(rca, baseline)
    assert found["prototypes.crf"] == {"mean": 47.5, "std": 7.778}
    assert found["prototypes.crf_gain"] == {"mean": 2.5, "std": 0.707}
    assert found["cams.val_maps_gain"] == {"mean": 0, "std": 0}
    assert "cams.network" not in found  # no such network was trained
    assert method_record.summarised(rca[:1], baseline)["cams.crf"]["std"] is None


def test_table__has_a_row_for_each_variant():
    baseline = [run("baseline", seed, 40.0 + seed) for seed in range(3)]
    rca = [run("rca", seed, 42.0 + seed) for seed in range(3)]
    summary = {
        name: method_record.summarised(runs, reference)
        for name, runs, reference in (("baseline", baseline, []), ("rca", rca, baseline))
    }
    columns = ("prototypes.maps", "prototypes.crf", "prototypes.network")
    lines = method_record.table({"summary": summary}, VARIANTS, columns).splitlines()
    assert lines[1:] == [
        "|---|---:|---:|---:|---:|---:|---:|",
        "| Plain classifier | 40.0 ± 0.0 |  | 41.0 ± 1.0 |  |  |  |",
        "| RCA (RSC and RSA) | 40.0 ± 0.0 | +0.0 ± 0.0 | 43.0 ± 1.0 | +2.0 ± 0.0 |  |  |",
    ]


def test_measure__a_training_that_diverges_is_a_run_without_scores(tmp_path, monkeypatch):
    def diverge(*_, **__):
        raise FloatingPointError("the loss became nan in epoch 2: lower optimiser.lr")

    monkeypatch.setattr("rca.stages.train_cam.run", diverge)
    params = overridden(BASE, {**EVERYTHING["rsa"].changes, "seed": 1})
    method_study.measure(tmp_path, {"rsa": params})

    runs = method_record.read_runs(tmp_path / "runs")
    others = [run("rsa", seed, 40.0 + seed) for seed in (0, 2)]
    content = {"summary": {"rsa": method_record.summarised([*others, *runs], [])}}
    assert runs[0]["diverged"].startswith("the loss became nan")
    assert content["summary"]["rsa"]["seeds"] == [0, 2]
    row = method_record.table(content, ["rsa"], ["prototypes.crf"]).splitlines()[-1]
    assert row == "| + RSA (diverged with seed 1) | 41.0 ± 1.4 |  |"
    assert method_study._tasks(tmp_path, BASE, ["rsa"], [1]) == []  # not measured again


def test_contrast_cost__measures_ways_that_agree():
    found = method_cost.contrast_cost(3, 2, repeats=1)
    assert found["regions"] == 16
    assert set(found["seconds"]) == {"batched", "loop"}


@pytest.mark.parametrize("record", [method_record.RECORD, method_cost.RECORD], ids=str)
def test_record__says_what_it_was_measured_with(record: Path):
    if not record.exists():
        pytest.skip(f"{record} is not measured yet")
    content = json.loads(record.read_text(encoding="utf-8"))
    assert {"protocol", "commit", "python", "torch", "machine"} <= set(content)


def test_seed_gains__pair_the_runs_of_a_seed():
    def run(variant: str, seed: int, value: float | None) -> dict:
        return {"variant": variant, "seed": seed, "miou": {"prototypes": {"crf": value}}}

    runs = [
        run("baseline", 0, 50.0),
        run("baseline", 1, 60.0),
        run("rca", 1, 61.5),
        run("rca", 0, 49.0),
        run("rca", 2, 70.0),  # without a baseline
        run("rsc", 0, None),  # not measured
    ]
    assert method_figure.seed_gains(runs, "rca", "prototypes.crf") == [-1.0, 1.5]
    assert method_figure.seed_gains(runs, "rsc", "prototypes.crf") == []
    assert method_figure.seed_gains(runs, "baseline", "prototypes.crf") == []
