"""Pictures as a page embeds them: their bytes decoded again."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from rca.presentation.embedded import (
    SCORES_SIDE,
    data_uri,
    embed_labels,
    embed_photograph,
    embed_scores,
)

GREY = Image.new("RGB", (60, 40), (100, 100, 100))


def decoded(uri: str) -> Image.Image:
    start, _, content = uri.partition(",")
    assert start == "data:image/webp;base64"
    picture = Image.open(io.BytesIO(base64.b64decode(content)))
    assert picture.format == "WEBP"
    return picture.convert("RGB")


def test_data_uri__is_the_picture():
    assert decoded(data_uri(GREY)).size == GREY.size


def test_embed_photograph__keeps_its_size_and_about_its_colours():
    made = embed_photograph(GREY)
    assert (made.width, made.height) == (60, 40) == decoded(made.uri).size
    assert np.asarray(decoded(made.uri)) == pytest.approx(100, abs=3)


def test_embed_labels__keeps_every_colour_exactly():
    palette = np.random.default_rng(0).integers(0, 256, (256, 3), np.uint8)
    labels = np.random.default_rng(1).integers(0, 256, (30, 40), np.uint8)
    made = embed_labels(labels, (80, 60), palette)
    wanted = palette[np.kron(labels, np.ones((2, 2), np.uint8))]
    np.testing.assert_array_equal(np.asarray(decoded(made.uri)), wanted)


def test_embed_scores__are_grey_small_and_take_the_photographs_place():
    scores = np.repeat(np.linspace(0, 1, 448, dtype=np.float32)[None], 336, axis=0)
    made = embed_scores(scores, (448, 336))
    picture = decoded(made.uri)
    assert (made.width, made.height) == (448, 336)
    assert picture.size == (SCORES_SIDE, SCORES_SIDE * 3 // 4)
    row = np.asarray(picture)[40, :, 0] / 255
    assert row == pytest.approx(np.linspace(0, 1, SCORES_SIDE), abs=0.03)
