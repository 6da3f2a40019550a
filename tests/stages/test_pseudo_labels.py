from __future__ import annotations

import numpy as np
import pytest
from label_data import EDGE, HEIGHT, WIDTH, LabelData, contents, make_label_data
from PIL import Image

from rca.config import PseudoLabels
from rca.data.images import DataError, read_mask
from rca.data.palette import voc_palette
from rca.labels.scores import upsample_cams
from rca.stages import pseudo_labels

SALIENCY = PseudoLabels(background="saliency", min_foreground=0)


@pytest.fixture
def data(tmp_path) -> LabelData:
    return make_label_data(tmp_path / "data")


def run(data, out, rules=None):
    pseudo_labels.run(rules or PseudoLabels(), index=data.index, maps=data.cams, out=out)
    return {path.stem: read_mask(path) for path in out.iterdir()}


def test_run__labels_every_training_image_by_its_best_score(data, tmp_path):
    rules = PseudoLabels(threshold=0.4, conflict_threshold=1)
    maps = run(data, tmp_path / "out", rules)
    assert set(maps) == {"one", "two", "three"}
    for image, labels in maps.items():
        cams = upsample_cams(data.cams_of(image), HEIGHT, WIDTH)
        for y in range(HEIGHT):
            for x in range(WIDTH):
                best = int(cams[:, y, x].argmax())
                expected = data.stored[image][best] + 1 if cams[best, y, x] > 0.4 else 0
                assert labels[y, x] == expected


def test_run__writes_the_palette_of_the_index(data, tmp_path):
    run(data, tmp_path / "out")
    palette = Image.open(tmp_path / "out" / "three.png").getpalette()
    assert palette[:9] == voc_palette()[:3].flatten().tolist()


def test_run__same_bytes_twice(data, tmp_path):
    run(data, tmp_path / "first")
    run(data, tmp_path / "second")
    assert contents(tmp_path / "first") == contents(tmp_path / "second")


def test_run__saliency_is_the_background(data, tmp_path):
    data.cams_of = lambda image: np.full((len(data.stored[image]), 4, 6), 0.5, np.float32)
    data.write()
    labels = run(data, tmp_path / "out", SALIENCY)["two"]
    # Left: 1 - 40/255 beats 0.5, but 40/255 is at least the uncertain 0.125. Right: 1 - 200/255.
    assert (labels[:, :EDGE] == 255).all()
    assert (labels[:, EDGE:] == 2).all()


def test_run__missing_saliency_maps_are_named_at_once(data, tmp_path):
    data.change("one", saliency=None)
    data.change("two", saliency=None)
    data.write()
    with pytest.raises(DataError, match=r"^2 of 3 training images .* \(one, two\); add them"):
        run(data, tmp_path / "out", SALIENCY)
    assert run(data, tmp_path / "out").keys() == {"one", "two", "three"}


def test_run__saliency_of_another_size_is_an_error(data, tmp_path):
    Image.new("L", (8, 8)).save(data.root / "two-saliency.png")
    with pytest.raises(DataError, match=r"two-saliency\.png: 8 × 8 pixels, the image has 24 × 16"):
        run(data, tmp_path / "out", SALIENCY)


def test_run__tag_without_cam_is_an_error_and_leaves_nothing(data, tmp_path):
    data.stored["three"] = [0]
    data.write()
    message = r"^three: tags are \['cat', 'dog'\] but the store of maps holds \['cat'\]"
    with pytest.raises(DataError, match=message):
        run(data, tmp_path / "out" / "pseudo_labels")
    assert list((tmp_path / "out").iterdir()) == []


def test_run__cam_of_another_data_set_is_an_error(data, tmp_path):
    data.stored["one"] = [0, 7]
    data.write()
    with pytest.raises(DataError, match=r"^one: .* holds \['cat', 'class 7'\]"):
        run(data, tmp_path / "out")
