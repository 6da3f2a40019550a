"""Stage `report`: one page that stands on its own."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_results import CLASSES, evaluate_results, tiny_params, write_results

from rca.config import PseudoLabels, Report
from rca.data.images import DataError
from rca.data.index import read_index
from rca.evaluation.evaluators import EVALUATORS
from rca.evaluation.products import PRODUCTS
from rca.evaluation.published.tables import VOC_CLASSES
from rca.stages import report
from rca.stages.pictures import readout_layer
from rca.stages.prototype_pictures import prototype_crops

RULES = PseudoLabels(threshold=0.25)
PARAMS = tiny_params()
REFERENCES = {"src", "href", "srcset", "data", "action", "poster", "xlink:href"}


class Page(HTMLParser):
    """Collects what the tests ask for."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.references: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.pictures: list[str] = []
        self.words = ""
        self.text = path.read_text()
        self.feed(self.text)

    def handle_starttag(self, tag, attributes):
        known = dict(attributes)
        self.tags.append(tag)
        self.ids += [known["id"]] if "id" in known else []
        self.pictures += [known["alt"]] if tag == "img" else []
        self.references += [value for name, value in attributes if name in REFERENCES]

    def handle_data(self, data):
        self.words += data


def run(results: Path, out: str = "report", evaluated: bool = True, **arguments) -> Path:
    params = arguments.pop("params", PARAMS)
    if evaluated:
        evaluate_results(results, params)
    cfg = arguments.pop("cfg", Report())
    index, out = results / "index", results / out
    report.run(cfg, RULES, index=index, results=results, out=out, **arguments)
    return out


@pytest.fixture(scope="module", autouse=True)
def small_pictures():
    """Pictures of 40 pixels, for speed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rca.drawing.gallery.SIDE", 40)
        patch.setattr("rca.stages.report.CLASS_SIDE", 40)
        yield


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    results = write_results(tmp_path_factory.mktemp("whole"))
    run(results)
    return results


@pytest.fixture(scope="module")
def page(results) -> Page:
    return Page(results / "report/report.html")


def test_run__page_refers_to_nothing_outside_itself(page):
    assert page.references
    for reference in page.references:
        inside = reference.startswith("#") and reference[1:] in page.ids
        assert inside or reference.startswith("data:image/webp;base64,"), reference[:80]
    assert not {"script", "link", "iframe", "object", "base"} & set(page.tags)
    for remote in ("http:", "https:", "@import", "url("):
        assert remote not in page.text


def test_run__prototypes_bring_their_scores_their_layer_and_their_crops(tmp_path):
    results = write_results(tmp_path)
    spots = [
        {"image": "b", "x": 0.3, "y": 0.6, "cosine": 0.914},
        {"image": "a", "x": 0, "y": 1, "cosine": 0.7},
    ]
    nearest = [
        {"label": "background", "prototype": 0, "pixels": spots},
        {"label": "cat", "prototype": 0, "pixels": spots[1:]},
        {"label": "cat", "prototype": 2, "pixels": spots},
        {"label": "dog", "prototype": 0, "pixels": []},
    ]
    (results / "readout/nearest.json").write_text(json.dumps(nearest))
    content = PARAMS.model_dump()
    content["readout"]["method"] = "prototypes"
    content["pseudo_labels"]["background"] = "posterior"
    page = Page(run(results, params=type(PARAMS).model_validate(content)) / "report.html")
    assert "Prototype readout" in page.words and "prototypes" in page.ids
    # The classes in their order, then the background; dog's prototype is like no pixel.
    assert page.pictures[:5] == ["cat, a", "cat, b", "cat, a", "background, b", "background, a"]
    assert "cosine 0.70" in page.words and "cosine 0.91 to 0.70" in page.words
    assert page.pictures[5:8] == ["Photograph, v", "CAM, v", "Readout, v"]
    assert "Readout, a" in page.pictures and "Readout: how probable" in page.words


def test_prototype_crops__of_another_index_say_what_to_do(tmp_path):
    results = write_results(tmp_path)
    spots = [{"image": "gone", "x": 0.5, "y": 0.5, "cosine": 1.0}]
    nearest = results / "readout/nearest.json"
    nearest.write_text(json.dumps([{"label": "cat", "prototype": 0, "pixels": spots}]))

    with pytest.raises(DataError, match=r"nearest\.json: names gone, .*; run `rca readout` again"):
        prototype_crops(read_index(results / "index"), results / "readout")


def test_run__without_prototypes_the_page_has_none(page):
    assert "prototypes" not in page.ids and "#prototypes" not in page.references
    assert "Readout:" not in page.words and "Prototypes" not in page.words
    assert not [alt for alt in page.pictures if alt.startswith("Readout")]


def test_readout_layer__sets_the_best_class_beside_the_background(tmp_path):
    results = write_results(tmp_path)
    layer = readout_layer(read_index(results / "index"), results / "readout/val", "readout_val")
    # Posteriors of cat and dog: 0 and 0.1; 0.1 and 0.9; 0.2 and 0.8; more than 1 from rounding.
    assert layer.read("v") == pytest.approx(np.array([[0.1, 1], [1, 1]]), abs=1e-4)


def test_run__page_names_every_product_with_its_number(page):
    for product in PRODUCTS:  # no prototypes, no readout; and no round of self-training
        made = not product.name.startswith(("readout", "round"))
        assert (product.title in page.words) == made
    for number in ("55.6", "100.0", "12.5", "53.3"):  # network, upper bound, background, labels
        assert number in page.words


def test_run__page_shows_every_image_in_every_form(page):
    train = [
        f"{title}, {image}"
        for image in ("b", "a")  # IoU after CRF: 50 and 100; the best comes first
        for title in ("Photograph", "CAM", "Pseudo-label", "After CRF", "Truth")
    ]
    val = [
        f"{title}, v" for title in ("Photograph", "CAM", "Prediction", "Trained on truth", "Truth")
    ]
    after = [*val, *val]  # as cat's only image and as dog's
    assert page.pictures == val + after + train[5:] + train[:5] + train[5:]


def test_run__page_shows_each_class_by_its_own_iou(page):
    start = page.words.index("The best, the worst and the most changed of each class")
    words = " ".join(page.words[start : page.words.index("Training images", start)].split())
    # The CAMs find `v`'s 3 pixels of dog, the network 2, and a cat where there is none.
    assert "cat 1 image Best vcat dog Photograph CAM Prediction 0.0" in words
    assert "dog 1 image Best, most changed −33.3 v" in words
    assert "Photograph CAM 100.0 Prediction 66.7 Trained on truth 100.0 Truth" in words


def test_run__page_draws_each_loss_and_the_sweep(page):
    assert page.tags.count("svg") == 1 + 3 * 2
    assert "not used to choose" in page.words


def test_run__page_says_what_each_evaluator_would(page):
    for evaluator in EVALUATORS:
        assert evaluator.name in page.words and evaluator.where in page.words
    assert "refuses masks that hold 255" in page.words
    assert "paper" not in page.ids  # its tables are of other classes


def test_run__page_puts_vocs_classes_beside_the_papers(tmp_path):
    others = (name for name in VOC_CLASSES if name not in CLASSES)
    results = write_results(tmp_path, classes=(*CLASSES, *others))
    page = Page(run(results) / "report.html")
    assert "paper" in page.ids
    assert "this run (not comparable)" in page.words
    assert "1 validation images, VOC 2012 val has 1449" in page.words
    own = page.words[page.words.index("this run (not comparable)") :].split()[4:26]
    # In the paper's order: background first, cat eighth among the classes, dog twelfth, the mean.
    known = {place: cell for place, cell in enumerate(own) if cell != "–"}
    assert known == {0: "100.0", 8: "0.0", 12: "66.7", 21: "55.6"}


def test_run__panels_are_as_many_as_asked_for(results):
    out = run(
        results, "few", evaluated=False, cfg=Report(panels=5, training_panels=1, class_panels=0)
    )
    assert len(Page(out / "report.html").pictures) == 5 + 5


def test_run__same_inputs_same_bytes(results):
    again = run(results, "again", evaluated=False)
    for name in ("report.html", "panels.png"):
        assert (again / name).read_bytes() == (results / "report" / name).read_bytes()


def test_run__picture_holds_four_columns(results):
    with Image.open(results / "report/panels.png") as picture:
        assert picture.width == 2 * 16 + 4 * 240 + 3 * 8


def test_run__parameters_are_shown_as_text(results):
    shown = {"experiment": "<b>tiny</b>", "seed": 7}
    out = run(results, "shown", evaluated=False, parameters=shown)
    page = Page(out / "report.html")
    assert "experiment: <b>tiny</b>\nseed: 7\n" in page.words


def test_run__without_masks(tmp_path):
    out = run(write_results(tmp_path, masks=False, truth_network=False))
    page = Page(out / "report.html")
    titles = ["Photograph", "CAM", "Prediction"]
    assert page.pictures[:3] == [f"{title}, v" for title in titles]
    assert len(page.pictures) == 3 + 2 * 4
    assert "no true masks" in page.words
    with Image.open(out / "panels.png") as picture:
        assert picture.width == 2 * 16 + 3 * 240 + 2 * 8


def test_run__without_the_network_trained_on_truth(tmp_path):
    page = Page(run(write_results(tmp_path, truth_network=False)) / "report.html")
    assert "Trained on truth, v" not in page.pictures
    assert "Ratio of the two" not in page.words


def test_run__leaves_out_a_network_on_truth_that_an_earlier_run_left(tmp_path):
    training = PARAMS.train_seg.model_copy(update={"supervisions": {"pseudo": "crf"}})
    out = run(write_results(tmp_path), params=PARAMS.model_copy(update={"train_seg": training}))
    page = Page(out / "report.html")
    assert "Trained on truth, v" not in page.pictures
    assert "Segmentation network, true masks" not in page.words


def test_run__before_evaluate_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"per_image.csv: no such file"):
        run(write_results(tmp_path), evaluated=False)
