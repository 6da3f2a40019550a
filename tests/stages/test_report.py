"""Stage `report`: one page that stands on its own."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image
from tiny_results import CLASSES, MAPS, TRUTH, evaluate_results, tiny_params, write_results

from rca.config import Report
from rca.data.images import DataError
from rca.data.index import read_index
from rca.evaluation.evaluators import EVALUATORS
from rca.evaluation.products import PRODUCTS
from rca.evaluation.published.paper_tables import VOC_CLASSES
from rca.presentation.prototype_crops import prototype_crops
from rca.presentation.result_files import read_doubts
from rca.presentation.stage_layers import readout_layer
from rca.stages import report
from rca.tracking.signature import PLACE

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
        self.sources: dict[str, str] = {}  # of the pictures, by their text
        self.articles: dict[str, dict[str, str]] = {}
        self.words = ""
        self.facts: dict = {}
        self.inside = ""
        self.text = path.read_text()
        self.feed(self.text)

    def handle_starttag(self, tag, attributes):
        known = dict(attributes)
        self.tags.append(tag)
        self.ids += [known["id"]] if "id" in known else []
        if tag == "img":
            self.pictures.append(known["alt"])
            self.sources[known["alt"]] = known["src"]
            assert known["loading"] == "lazy" and known["width"] and known["height"]
        if tag == "article":
            self.articles[known["id"]] = known
        self.inside = known.get("id", tag) if tag == "script" else tag
        self.references += [value for name, value in attributes if name in REFERENCES]

    def handle_data(self, data):
        if self.inside == "facts":
            self.facts = json.loads(data)
        elif self.inside not in ("script", "style"):
            self.words += data

    def handle_endtag(self, tag):
        self.inside = ""

    def picture(self, text: str) -> np.ndarray:
        """The pixels of an embedded picture."""
        content = base64.b64decode(self.sources[text].partition(",")[2])
        with Image.open(io.BytesIO(content)) as picture:
            return np.asarray(picture.convert("RGB"))


def run(results: Path, out: str = "report", evaluated: bool = True, **arguments) -> Path:
    params = arguments.pop("params", PARAMS)
    if evaluated:
        evaluate_results(results, params)
    cfg = arguments.pop("cfg", Report())
    index, out = results / "index", results / out
    report.run(cfg, index=index, results=results, out=out, **arguments)
    return out


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
        inside = reference.startswith("#") and unquote(reference[1:]) in page.ids
        assert inside or reference.startswith("data:image/webp;base64,"), reference[:80]
    assert not {"link", "iframe", "object", "base"} & set(page.tags)
    for remote in ("http:", "https:", "@import", "url(", "fetch(", "XMLHttp", "import("):
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
    assert page.pictures[-5:] == ["cat, a", "cat, b", "cat, a", "background, b", "background, a"]
    assert "cosine 0.70" in page.words and "cosine 0.91 to 0.70" in page.words
    assert page.pictures[:3] == ["Photograph, v", "CAM, v", "Readout, v"]
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
    assert page.pictures == val + train[5:] + train[:5]
    assert list(page.articles) == ["image-v", "image-a", "image-b"]
    assert "All 1 are here" in page.words and "All 2 are here" in page.words


def test_run__label_maps_are_embedded_without_loss(page):
    colours = np.array(page.facts["palettes"]["screen"])
    np.testing.assert_array_equal(
        page.picture("Prediction, v"), colours[MAPS["infer_seg/pseudo/v"]]
    )
    truth = np.where(np.array(TRUTH["a"]) == 255, 3, TRUTH["a"])  # 255 is the last colour
    np.testing.assert_array_equal(page.picture("Truth, a"), colours[truth])
    assert page.facts["palettes"]["voc"] == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [224, 224, 192]]


def test_run__cams_are_embedded_as_grey(page):
    grey = page.picture("CAM, a")[..., 0] / 255
    assert grey == pytest.approx(np.array([[0, 0.2, 0.9, 0.9], [0.3, 0.9, 0.1, 1]]), abs=0.25)


def test_run__photographs_show_their_doubt(results, page):
    doubts = read_doubts(results, "abv")
    assert sorted(doubts) == ["a", "b", "v"] and len({*doubts.values()}) == 3
    for image, doubt in doubts.items():
        assert float(page.articles[f"image-{image}"]["data-doubt"]) == doubt
        assert f"doubt {doubt:.2f}" in page.words
    assert "Its rank correlation with the IoU is −1.00 here." in " ".join(page.words.split())


def test_run__facts_hold_what_the_script_sorts_and_filters_by(page):
    val = page.facts["splits"]["val"]
    assert page.facts["classes"] == ["background", "cat", "dog"]
    assert val["final"] == "prediction"
    assert val["products"] == [
        ["cam_seeds_val", "CAM"],
        ["network_val", "Prediction"],
        ["fully_supervised_val", "Trained on truth"],
    ]
    # The mean, and that of cat and dog; of 4 pixels, one dog is taken for a cat.
    assert val["scores"]["v"]["network_val"] == {"": 55.56, "1": 0, "2": 66.67}
    assert page.articles["image-v"]["data-tags"] == "1 2"
    assert page.articles["image-v"]["data-confused"] == "2,1,0.25"
    assert "data-confused" not in page.articles["image-a"]
    thresholds = {stage["stage"]: stage["threshold"] for stage in val["stages"]}
    assert thresholds["cam"] == 0.25 and thresholds["prediction"] is None


def test_run__page_names_the_best_of_each_class_by_its_own_iou(page):
    start = page.words.index("The best, the worst and the most changed of each class")
    words = " ".join(page.words[start : page.words.index("Training photographs", start)].split())
    # The CAMs find `v`'s 3 pixels of dog, the network 2, and a cat where there is none.
    assert "cat bestv 0.0–" in words
    assert "dog best, most changedv 66.7−33.3" in words


def test_run__page_says_where_it_comes_from(results, page):
    assert "Zhou, Zhang, Zhao, Li" in page.words and "CVPR 2022" in page.words
    digest = hashlib.sha256((results / "evaluate/metrics.json").read_bytes()).hexdigest()
    assert f"sha256sum {results}/evaluate/metrics.json\n# {digest}" in page.words
    assert page.text.count(PLACE) == 1


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


def test_run__photographs_are_as_many_as_asked_for(results):
    cfg = Report(panels=1, training_panels=1, class_panels=0)
    page = Page(run(results, "few", evaluated=False, cfg=cfg) / "report.html")
    assert list(page.articles) == ["image-v", "image-a"]  # `a` is better than `b`
    assert "1 of 2 are on this page" in " ".join(page.words.split())
    assert "report.training_panels" in page.words


def test_run__pictures_shrink_until_they_fit(results, monkeypatch, caplog):
    monkeypatch.setattr("rca.presentation.photograph_entries.SIDES", (4, 2))
    monkeypatch.setattr("rca.presentation.photograph_entries.BUDGET", 1)
    page = Page(run(results, "small", evaluated=False) / "report.html")
    assert page.picture("Photograph, a").shape == (1, 2, 3)
    assert "report.panels" in caplog.text


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
    assert "IoU" not in page.words
    assert list(page.articles) == ["image-v", "image-b", "image-a"]  # the most doubtful first
    assert "All 2 are here, the most doubtful first" in " ".join(page.words.split())
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
