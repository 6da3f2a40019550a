"""The study of the method's parts: what its variants are, and what it makes of their runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import method_cost, method_record, method_study
from benchmarks.method_variants import EVERYTHING, VARIANTS, overridden
from rca.config import ConfigError, load

BASE = load(method_study.BASE)


def run(variant: str, seed: int, crf: float) -> dict:
    return {
        "variant": variant,
        "seed": seed,
        "miou": {"cam_seeds": 40.0, "pseudo_labels": 41.0, "crf": crf},
        "cam_seeds_sweep": {"0.100": 30.0, "0.200": 44.0},
    }


def test_variants__are_valid_and_differ_from_one_another():
    every = [overridden(BASE, variant.changes) for variant in VARIANTS.values()]
    for params in every:
        same = params.model_copy(update={"train_cam": BASE.train_cam, "infer_cam": BASE.infer_cam})
        assert same == BASE  # nothing else changes
    assert len({(p.train_cam.digest(), p.infer_cam.digest()) for p in every}) == len(every)


def test_variants__take_the_same_steps_on_the_same_views():
    for variant in VARIANTS.values():
        cfg = overridden(BASE, variant.changes).train_cam
        for name in ("epochs", "batch_size", "view", "backbone", "optimiser"):
            assert getattr(cfg, name) == getattr(BASE.train_cam, name)


def test_variants__oaa_shares_its_training_with_the_baseline():
    plain, oaa = (
        overridden(BASE, VARIANTS[name].changes).train_cam for name in ("baseline", "oaa")
    )
    assert plain.digest() == oaa.digest()


def test_variants__gain_over_one_of_as_many_steps():
    for variant in EVERYTHING.values():
        if variant.reference:
            cfg, reference = (
                overridden(BASE, changes).train_cam
                for changes in (variant.changes, EVERYTHING[variant.reference].changes)
            )
            assert (cfg.epochs, cfg.batch_size) == (reference.epochs, reference.batch_size)


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
    names = ["baseline", "oaa", "rca"]
    everything = method_study._tasks(tmp_path, BASE, names, [0])
    assert [list(task) for task in everything] == [["baseline", "oaa"], ["rca"]]
    params = overridden(BASE, {**VARIANTS["oaa"].changes, "seed": 0})
    path = tmp_path / "runs/oaa-0.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"params": method_record.measured(params)}))
    left = method_study._tasks(tmp_path, BASE, names, [0])
    assert [list(task) for task in left] == [["baseline"], ["rca"]]
    other = overridden(BASE, {"crf.iterations": 3})
    assert len(method_study._tasks(tmp_path, other, ["oaa"], [0])) == 1


def test_tasks__give_each_variant_of_a_training_its_own_parameters(tmp_path):
    (task,) = method_study._tasks(tmp_path, BASE, ["rca_oaa", "rca_480"], [0])
    assert task["rca_oaa"].infer_cam.training_maps == "accumulated"
    assert task["rca_480"].infer_cam.training_maps == "network"
    assert task["rca_480"].infer_cam.size == 480


def test_summarised__pairs_the_seeds():
    baseline = [run("baseline", seed, crf) for seed, crf in ((0, 40.0), (1, 50.0))]
    rca = [run("rca", seed, crf) for seed, crf in ((1, 53.0), (0, 42.0))]
    found = method_record.summarised(rca, baseline)
    assert found["crf"] == {"mean": 47.5, "std": 7.778}
    assert found["crf_gain"] == {"mean": 2.5, "std": 0.707}
    assert found["cam_seeds_best_of_sweep"]["mean"] == 44
    assert method_record.summarised(rca[:1], baseline)["crf"]["std"] is None


def test_table__has_a_row_for_each_variant():
    baseline = [run("baseline", seed, 40.0 + seed) for seed in range(3)]
    rca = [run("rca", seed, 42.0 + seed) for seed in range(3)]
    summary = {
        name: method_record.summarised(runs, reference)
        for name, runs, reference in (("baseline", baseline, []), ("rca", rca, baseline))
    }
    lines = method_record.table({"summary": summary}, VARIANTS).splitlines()
    assert lines[2:] == [
        "| Plain CAM | 40.0 ± 0.0 |  | 41.0 ± 1.0 |  |",
        "| RCA (RSC and RSA) | 40.0 ± 0.0 | +0.0 ± 0.0 | 43.0 ± 1.0 | +2.0 ± 0.0 |",
    ]


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
