"""The protocol that goes with every number."""

from __future__ import annotations

import json

import pytest

from rca.config import Evaluate, PseudoLabels
from rca.evaluation.protocol import PRODUCTS, in_words, protocol

GIVEN = {"classes": ["cat", "dog"], "mask_source": "SegmentationClassAug", "products": PRODUCTS}


def made(cfg: Evaluate | None = None, pretrained: bool = True, **rules) -> dict:
    return protocol(cfg or Evaluate(), PseudoLabels(**rules), pretrained=pretrained, **GIVEN)


def test_protocol__is_json_and_says_where_tags_are_seen():
    content = json.loads(json.dumps(made(threshold=0.3)))
    assert content["classes"] == ["background", "cat", "dog"]
    assert content["threshold"] == 0.3
    seen = [name for name, used in content["tags_at_inference"].items() if used]
    assert seen == ["cam_seeds_train", "pseudo_labels_train", "crf_train"]


def test_protocol__lists_the_signals_that_were_used():
    assert made()["signals"] == ["image tags", "ImageNet-pretrained backbone"]
    assert made(pretrained=False, background="saliency")["signals"] == [
        "image tags",
        "saliency maps",
    ]


@pytest.mark.parametrize(
    ("policy", "words"),
    [("strict", "a miss"), ("background", "as background"), ("excluded", "left out, and coverage")],
)
def test_in_words__tells_the_policies_apart(policy, words):
    text = in_words(made(Evaluate(ignored_predictions=policy), threshold=0.3))
    assert words in text
    assert "background score of 0.3" in text and "SegmentationClassAug" in text


def test_products__improve_on_earlier_ones_of_the_same_split():
    known = {}
    for product in PRODUCTS:
        if product.previous:
            assert known[product.previous].split == product.split
        known[product.name] = product
