"""The protocol that goes with every number."""

from __future__ import annotations

import json

import pytest

from rca.config import Params
from rca.evaluation.products import PRODUCTS, improved_on
from rca.evaluation.protocol import in_words, protocol

GIVEN = {
    "classes": ["cat", "dog"],
    "mask_source": "SegmentationClassAug",
    "source": {"tags": "annotation XML, difficult objects left out"},
    "images": {"train": ["b", "a"], "val": ["v"]},
    "products": PRODUCTS,
}
PROTOTYPES = {
    "readout": {"method": "prototypes", "background_weight": 2.5, "rounds": 3},
    "pseudo_labels": {"background": "posterior"},
    "evaluate": {"readout_chosen_on": "val"},
}


def params(**sections) -> Params:
    download = {"source": "archive", "name": "d", "archive": "a.tar", "sha256": "0" * 64}
    return Params.model_validate({"experiment": "e", "download": download, **sections})


def made(given: dict | None = None, **sections) -> dict:
    return protocol(params(**sections), **{**GIVEN, **(given or {})})


def test_protocol__is_json_and_says_where_tags_are_seen():
    content = json.loads(json.dumps(made(evaluate={"seed_threshold": 0.3})))
    assert content["classes"] == ["background", "cat", "dog"]
    assert content["threshold"] == 0.3
    seen = [name for name, used in content["tags_at_inference"].items() if used]
    assert seen == [product.name for product in PRODUCTS if product.split == "train"]


def test_protocol__lists_the_signals_that_were_used():
    none = {"backbone": {"weights": "none"}}
    coco = {"pretrained_on": "COCO masks"}
    assert made()["signals"] == [
        "image tags",
        "backbone pretrained on ImageNet-1k classification",
    ]
    assert made(
        train_cam=none, train_seg=none, pseudo_labels={"background": "saliency"}, evaluate=coco
    )["signals"] == ["image tags", "saliency maps"]
    weights = {"backbone": {"weights": "deeplab-coco.safetensors"}}
    content = made(train_cam=none, train_seg=weights, evaluate=coco)
    assert content["signals"] == ["image tags", "backbone pretrained on COCO masks"]
    assert content["pretrained"] == {
        "train_cam": "none",
        "train_seg": "deeplab-coco.safetensors (COCO masks)",
    }


def test_protocol__image_sets_are_told_apart_by_their_names_in_any_order():
    sets = [
        made({"images": {"train": names}})["image_sets"]["train"]
        for names in (["a", "b"], ["b", "a"], ["a", "c"])
    ]
    assert sets[0] == sets[1] != sets[2]
    assert sets[0]["list"] == "train" and sets[0]["images"] == 2


def test_protocol__crf_counts_only_where_it_is_used():
    assert made(crf={"method": "none", "iterations": 3})["crf"] == {"method": "none"}
    assert made(crf={"iterations": 3, "processes": 1})["crf"]["iterations"] == 3
    assert "processes" not in made()["crf"]


def test_protocol__readout_counts_only_where_it_is_used():
    cams = made(readout={"prototypes": 9}, evaluate={"readout_chosen_on": "val"})
    assert cams["readout"] == {"method": "cams", "settings_chosen_on": "no masks"}
    content = json.loads(json.dumps(made(**PROTOTYPES)))
    assert content["readout"]["background_weight"] == 2.5
    assert content["readout"]["settings_chosen_on"] == "val"
    assert content["pseudo_label_background"] == "posterior"
    assert not {"memory_mb", "shard_size"} & set(content["readout"])


def test_protocol__threshold_of_labels_counts_only_where_they_are_cut_by_it():
    cut = made(pseudo_labels={"background": "threshold", "threshold": 0.3})
    assert (cut["pseudo_label_threshold"], cut["threshold"]) == (0.3, 0.25)
    read = made(**{**PROTOTYPES, "pseudo_labels": {"background": "posterior", "threshold": 0.3}})
    assert (read["pseudo_label_threshold"], read["threshold"]) == (None, 0.25)


@pytest.mark.parametrize("method", ["prototypes", "cams"])
def test_protocol__saliency_of_the_readout_is_a_signal_where_it_is_used(method):
    given = {**PROTOTYPES, "readout": {"method": "prototypes", "saliency": True}}
    if method == "cams":
        given = {"readout": {"method": "cams", "saliency": True}}
    assert ("saliency maps" in made(**given)["signals"]) == (method == "prototypes")


def test_in_words__tells_how_maps_were_read_from_prototypes():
    text = in_words(made(**PROTOTYPES))
    assert "24 prototypes of the background (weight 2.5) and 4 of each class" in text
    assert "at temperature 0.07, after 3 rounds; its settings were chosen on val. The net" in text
    assert "prototype" not in in_words(made())
    old = made()
    del old["readout"]  # a result from before there was a readout
    assert in_words(old) == in_words(made())


@pytest.mark.parametrize(
    ("policy", "words"),
    [("strict", "a miss"), ("background", "as background"), ("excluded", "left out, and coverage")],
)
def test_in_words__tells_the_policies_apart(policy, words):
    text = in_words(made(evaluate={"ignored_predictions": policy, "seed_threshold": 0.3}))
    assert words in text
    assert "background score of 0.3" in text and "SegmentationClassAug" in text
    assert "difficult objects left out" in text and "scales 0.75, 1, 1.25, with flips" in text


def test_products__improve_on_earlier_ones_of_the_same_split():
    known = {}
    for product in PRODUCTS:
        if product.previous:
            assert known[product.previous].split == product.split
        known[product.name] = product


@pytest.mark.parametrize(
    ("name", "left_out", "before"),
    [
        ("pseudo_labels_train", set(), "readout_train"),
        ("pseudo_labels_train", {"readout_train"}, "cam_seeds_train"),
        ("crf_train", {"readout_train", "pseudo_labels_train"}, "cam_seeds_train"),
        ("readout_train", {"cam_seeds_train"}, None),
        ("network_val", {"readout_val"}, "cam_seeds_val"),
        ("network_val", {"readout_val", "cam_seeds_val"}, "all_background_val"),
        ("network_val", {"readout_val", "cam_seeds_val", "all_background_val"}, None),
        ("cam_seeds_train", set(), None),
    ],
)
def test_improved_on__is_the_nearest_before_that_is_scored(name, left_out, before):
    (product,) = (product for product in PRODUCTS if product.name == name)
    scored = {product.name for product in PRODUCTS} - left_out
    assert improved_on(product, scored) == before
