"""What makes numbers not comparable, and what does not."""

from __future__ import annotations

import copy

import pytest

from rca.config import ConfigError, Params
from rca.evaluation.comparison import RULES, compare
from rca.evaluation.products import PRODUCTS
from rca.evaluation.protocol import protocol
from rca.evaluation.runs import Runs, same_method
from rca.presentation.console import comparison_text

DOWNLOAD = {"source": "archive", "name": "d", "archive": "a.tar", "sha256": "0" * 64}
ALL = {product.name for product in PRODUCTS}
ROUNDS = {name for name in ALL if name.startswith("round_")}
NETWORKS = {"network_val", "fully_supervised_val"} | {n for n in ROUNDS if n.endswith("_val")}
LEARNT = ALL - {"all_background_val"}
READ_OUT = LEARNT - {"fully_supervised_val", "cam_seeds_train", "cam_seeds_val"}


def metrics(seed: int = 0, miou: float = 50.0, coverage: float = 100.0) -> dict:
    how = protocol(
        Params.model_validate({"experiment": "e", "download": DOWNLOAD}),
        classes=["cat"],
        mask_source="SegmentationClassAug",
        source={},
        images={"train": ["a"], "val": ["v"]},
        products=PRODUCTS,
    )
    row = {"coverage": coverage, "miou": miou, "miou_interval": [miou - 1, miou + 1]}
    return {
        "miou": dict.fromkeys(ALL, miou),
        "products": {name: {**row} for name in ALL},
        "seed": seed,
        "protocol": how,
    }


def changed(key: str, value: object, **made) -> dict:
    content = copy.deepcopy(metrics(**made))
    *parents, last = key.split(".")
    section = content["protocol"]
    for parent in parents:
        section = section[parent]
    section[last] = value
    return content


def touched(*runs: dict) -> set[str]:
    _, differences = compare([Runs("r", (run,)) for run in runs])
    return {product.name for difference in differences for product in difference.touches}


@pytest.mark.parametrize(
    ("key", "value", "products"),
    [
        ("classes", ["background", "dog"], ALL),
        ("mask_source", "SegmentationClass", ALL),
        ("image_sets.val.digest", "0", {p.name for p in PRODUCTS if p.split == "val"}),
        ("image_sets.val.list", "minival", set()),
        ("image_sets.train.images", 1464, {p.name for p in PRODUCTS if p.split == "train"}),
        ("signals", ["image tags", "saliency maps"], LEARNT),
        ("data.tags", "difficult left out", LEARNT - {"fully_supervised_val"}),
        ("threshold_chosen_on", "val", LEARNT - {"fully_supervised_val"}),
        ("readout.settings_chosen_on", "val", READ_OUT),
        ("readout.method", "prototypes", set()),
        ("pseudo_label_background", "posterior", set()),
        ("segmentation_inference.crf", True, NETWORKS),
        ("segmentation_inference.scales", [1.0], NETWORKS),
        ("cam_inference.flip", False, {"cam_seeds_train", "cam_seeds_val"}),
        ("tags_at_inference.cam_seeds_val", True, {"cam_seeds_val"}),
        ("something_new", 1, ALL),
        ("threshold", 0.4, set()),
        ("crf.iterations", 3, set()),
        ("intervals", "none", set()),
        ("data.source", "a mirror", set()),
    ],
)
def test_compare__names_a_difference_and_the_products_it_touches(key, value, products):
    runs = [Runs("one", (metrics(),)), Runs("two", (changed(key, value),))]
    _, (difference,) = compare(runs)
    assert difference.key == key and difference.values[1] == value
    assert {product.name for product in difference.touches} == products


def test_compare__the_policy_matters_only_where_something_is_uncertain():
    assert touched(metrics(), changed("ignored_predictions", "excluded")) == set()
    assert touched(metrics(), changed("ignored_predictions", "excluded", coverage=90.0)) == ALL


def test_compare__the_crf_matters_to_networks_that_use_it():
    runs = [changed("segmentation_inference.crf", True) for _ in range(2)]
    runs[1]["protocol"]["crf"]["iterations"] = 3
    assert touched(*runs) == NETWORKS


def test_compare__the_saliency_maps_matter_to_what_uses_them():
    for background, products in (("threshold", set()), ("saliency", LEARNT)):
        runs = [changed("pseudo_label_background", background) for _ in range(2)]
        runs[1]["protocol"]["data"]["saliency_sha256"] = "ab"
        assert touched(*runs) == products - {"fully_supervised_val"}


def test_compare__the_saliency_maps_matter_to_a_readout_that_uses_them():
    for used, products in ((False, set()), (True, LEARNT)):
        runs = [changed("readout.saliency", used) for _ in range(2)]
        runs[1]["protocol"]["data"]["saliency_sha256"] = "ab"
        assert touched(*runs) == products - {"fully_supervised_val"}


def test_compare__equal_protocols_have_no_difference():
    shared, differences = compare([Runs("r", (metrics(seed),)) for seed in range(3)])
    assert differences == [] and shared == list(PRODUCTS)


def test_compare__a_key_that_one_does_not_state_is_a_difference():
    old = metrics()
    del old["protocol"]["signals"]
    _, (difference,) = compare([Runs("one", (metrics(),)), Runs("old", (old,))])
    assert difference.values[1] == "not stated" and difference.touches


def test_compare__a_product_that_one_lacks_is_no_difference():
    fewer = metrics()
    del fewer["products"]["network_val"], fewer["protocol"]["tags_at_inference"]["network_val"]
    shared, differences = compare([Runs("one", (metrics(),)), Runs("two", (fewer,))])
    assert differences == [] and "network_val" not in [product.name for product in shared]


def test_compare__refuses_what_has_nothing_in_common():
    with pytest.raises(ConfigError, match="no scored product in common"):
        compare([Runs("a", (metrics(),)), Runs("b", ({**metrics(), "products": {}},))])


def test_rules__know_every_key_of_the_protocol():
    known = {beginning.split(".")[0] for beginning, _, _ in RULES} | {"tags_at_inference"}
    assert set(metrics()["protocol"]) <= known


def test_same_method__gives_mean_and_deviation_over_seeds():
    runs = same_method("a,b,c", [metrics(seed, 50.0 + seed) for seed in range(3)])
    assert runs.cell("network_val") == "51.00 ± 1.00 (3 seeds)"
    assert same_method("a", [metrics()]).cell("network_val") == "50.00 [49.00, 51.00]"


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (metrics(0), r"seeds are \[0, 0\]"),
        (changed("threshold", 0.4, seed=1), "they differ in threshold"),
        ({**metrics(1), "products": {}}, "what was scored"),
    ],
)
def test_same_method__refuses_runs_that_differ_in_more_than_the_seed(other, message):
    with pytest.raises(ConfigError, match=message):
        same_method("a,b", [metrics(0), other])


def test_comparison_text__puts_numbers_differences_and_verdict_into_words():
    runs = [
        Runs("here", (metrics(),)),
        Runs("there", (changed("segmentation_inference.crf", True, miou=52.0),)),
    ]
    text = comparison_text(runs, *compare(runs))
    rows = {" ".join(line.split()) for line in text.splitlines()}
    assert "Segmentation network val 50.00 [49.00, 51.00] 52.00 [51.00, 53.00] NO" in rows
    assert "CAM seeds val 50.00 [49.00, 51.00] 52.00 [51.00, 53.00] yes" in rows
    assert "segmentation_inference.crf: false | true" in text
    assert "MATTERS to Segmentation network (val), " in text
    assert "Same network, true masks (val): a CRF" in text
    assert "Not comparable: not all" in text
