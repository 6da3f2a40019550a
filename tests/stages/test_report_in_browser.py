"""The report in a real browser: sorted, filtered, searched, enlarged, at every size and theme.

Skipped where there is no Chromium; the accessibility check also where axe-core cannot be fetched.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny_results
from browser_pages import NEEDED, PHONE, WIDE, check_accessible_and_fits, column, pixel, shown_names

from rca.config import Report
from rca.stages import report

SHAPE = (36, 48)
DOG = np.zeros(SHAPE, int)
DOG[8:28, 12:36] = 2
# Validation image → what is predicted where its truth is a dog.
PREDICTED = {"Über gut": DOG, "half": np.where(np.arange(48) < 24, DOG, 0), "wrong": DOG // 2}

pytestmark = NEEDED


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    """A report of three validation images of a dog and the two small training images."""
    return written(tmp_path_factory.mktemp("browser"))


def written(folder: Path, **options) -> Path:
    """The report in `folder`; `options` are those of `write_results`."""
    cams = np.stack([DOG * 0, DOG / 2 * 0.9])
    with pytest.MonkeyPatch.context() as patch:
        new = {
            f"infer_seg/{of}/{image}": labels
            for image, labels in PREDICTED.items()
            for of in ("pseudo", "truth")
        }
        maps = {
            name: labels for name, labels in tiny_results.MAPS.items() if "infer_seg" not in name
        }
        patch.setattr(tiny_results, "MAPS", {**maps, **new})
        for name, content in (("TAGS", ("cat", "dog")), ("TRUTH", DOG), ("CAMS", cams)):
            known = {key: getattr(tiny_results, name)[key] for key in "ab"}
            patch.setattr(tiny_results, name, {**known, **dict.fromkeys(PREDICTED, content)})
        results = tiny_results.write_results(folder, **options)
        tiny_results.evaluate_results(results, tiny_results.tiny_params())
    out = results / "report"
    report.run(Report(), index=results / "index", results=results, out=out)
    return out / "report.html"


@pytest.fixture
def visit(visits, file):
    """Open the report; nothing may go wrong in it, and nothing may be asked of a network."""

    def opened(hash: str = "", size: tuple[int, int] = WIDE, file: Path = file, **options):
        return visits(f"{file.as_uri()}{hash}", size, **options)

    return opened


def names(page) -> list[str]:
    """The validation photographs that are shown, in their order."""
    return shown_names(page, "val")


@pytest.mark.slow
@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_page__is_accessible_and_fits(visit, axe, size, theme):
    check_accessible_and_fits(visit(size=size, color_scheme=theme), axe, size[0], "val")


def test_tables__sort_by_any_column_and_filter_rows(visit):
    page = visit()
    table = page.locator("#stages table").first
    table.get_by_role("button", name="mIoU").click()
    scores = [float(text) for text in column(table, 3)]
    assert scores == sorted(scores, reverse=True) and len({*scores}) > 2
    table.get_by_role("button", name="mIoU").click()
    assert [float(text) for text in column(table, 3)] == sorted(scores)
    assert table.locator("th[aria-sort=ascending]").count() == 1
    table.get_by_role("button", name="Product").click()
    titles = column(table, 1)
    assert titles == sorted(titles)
    page.get_by_label("Rows with, Score of each stage").fill("crf")
    assert column(table, 1) == ["Pseudo-labels after CRF"]


def test_photographs__are_found_by_name_class_and_score(visit):
    page = visit()
    assert names(page) == ["Über gut", "half", "wrong"]  # the best first
    tools = page.locator("#val .tools")
    tools.get_by_label("Order").select_option("low first")
    assert names(page) == ["wrong", "half", "Über gut"]
    tools.get_by_role("searchbox").fill("ÜBER")
    assert names(page) == ["Über gut"] and tools.locator("output").inner_text() == "1 of 3"
    tools.get_by_role("button", name="Reset").click()
    page.wait_for_function("document.querySelector('#val .tools output').textContent === '3 of 3'")
    tools.get_by_label("Highest IoU").fill("90")
    assert names(page) == ["half", "wrong"]
    tools.get_by_label("Tagged").select_option("dog")
    # IoU of the dog alone: half of its pixels, and none.
    assert page.locator(
        "#val .photo:visible figure[data-stage=prediction] b"
    ).all_text_contents() == ["50.0", "0.0"]


def test_photographs__sort_by_the_gain_between_two_stages(visit):
    page = visit()
    tools = page.locator("#val .tools")
    tools.get_by_label("Sort by").select_option("gain")
    tools.get_by_label("Order").select_option("low first")
    assert names(page) == ["wrong", "half", "Über gut"]  # the CAM is right in all
    told = page.locator("#val .photo:visible .found").all_text_contents()
    assert told[-1] == "+0.0 points" and told[0].startswith("−")


def test_photographs__sort_by_doubt(visit):
    page = visit()
    tools = page.locator("#val .tools")
    tools.get_by_label("Sort by").select_option("doubt")
    assert names(page) == ["wrong", "half", "Über gut"]
    told = page.locator("#val .fact").all_text_contents()
    assert told == sorted(told, reverse=True) and told[-1] == "doubt 0.00"


def test_confusions__a_cell_finds_its_photographs(visit):
    page = visit()
    page.get_by_role("button", name="dog taken for cat").click()
    page.wait_for_function("document.querySelector('#val .tools output').textContent === '1 of 3'")
    assert names(page) == ["wrong"]
    assert page.locator("#val .found:visible").inner_text() == "27.8 % of its pixels"
    page.locator("#val .tools").get_by_label("taken for").select_option("background")
    assert names(page) == ["half"]


def test_photographs__are_drawn_over_in_colours_that_can_be_changed(visit):
    page = visit()
    page.locator("#val .photo").first.scroll_into_view_if_needed()
    canvas = "#val .photo:first-child figure[data-stage=prediction] canvas"
    page.wait_for_selector(canvas)
    screen, background = pixel(page, canvas, 0.5, 0.5), pixel(page, canvas, 0.05, 0.05)
    assert max(background) - min(background) < max(screen) - min(screen)
    page.locator("#val .tools").get_by_label("Colours").select_option("of the masks")
    page.wait_for_function(
        f"() => {{ const c = document.querySelector('{canvas}');"
        "const d = c?.getContext('2d').getImageData(24, 18, 1, 1).data;"
        f"return d && d[0] !== {screen[0]}; }}"
    )
    red, green, blue = pixel(page, canvas, 0.5, 0.5)
    assert green > red and green > blue  # VOC's second colour
    page.locator("#val .tools").get_by_label("Show").select_option("Truth")
    shown = page.locator("#val figure:visible").evaluate_all(
        "all => all.map(one => one.dataset.stage)"
    )
    assert shown == ["truth"] * 3


def test_viewer__opens_at_an_address_and_obeys_the_keyboard(visit):
    page = visit("#image-half")
    heading = page.locator("#viewer h2")
    pressed = page.locator("#viewer .stages-bar [aria-pressed=true]")
    assert heading.inner_text() == "half" and pressed.inner_text().startswith("3 Prediction")
    page.keyboard.press("ArrowRight")
    assert heading.inner_text() == "wrong" and page.url.endswith("#image-wrong")
    page.keyboard.press("ArrowRight")
    assert heading.inner_text() == "Über gut"  # round, and escaped in the address
    page.keyboard.press("ArrowLeft")
    titles = []
    for key in "123456":
        page.keyboard.press(key)
        titles.append(pressed.inner_text().split(" ", 1)[1])
    assert [title.split("\n")[0].rstrip(" .0123456789") for title in titles] == [
        "Photograph", "CAM", "Prediction", "Trained on truth", "Truth", "Errors",
    ]  # fmt: skip
    page.wait_for_selector("#viewer canvas[aria-label='Errors, wrong']")
    red, green, blue = pixel(page, "#viewer canvas.under", 0.5, 0.5)
    assert red > blue > green  # swapped
    page.keyboard.press("ArrowUp")
    assert pressed.inner_text().startswith("5 Truth")
    page.keyboard.press("Escape")
    assert not page.locator("#viewer").is_visible() and "#" not in page.url
    assert page.evaluate("document.activeElement.textContent.trim()") == "wrong"


def test_viewer__compares_two_stages_and_zooms(visit):
    page = visit("#image-%C3%9Cber%20gut")
    assert page.locator("#viewer h2").inner_text() == "Über gut"
    page.keyboard.press("c")
    page.wait_for_selector("#viewer canvas.over[aria-label='Truth, Über gut']")
    page.get_by_label("Divide").fill("25")
    clip = page.locator("#viewer canvas.over").evaluate("c => getComputedStyle(c).clipPath")
    assert clip.endswith("25%)")
    before = page.locator(".board").bounding_box()
    page.keyboard.press("+")
    after = page.locator(".board").bounding_box()
    assert after["width"] == pytest.approx(1.5 * before["width"], rel=1e-3)
    page.mouse.move(700, 400)
    page.mouse.down()
    page.mouse.move(760, 430)
    page.mouse.up()
    page.mouse.move(900, 500)
    moved = page.locator(".board").bounding_box()
    assert moved["x"] - after["x"] == pytest.approx(60) and moved["y"] - after[
        "y"
    ] == pytest.approx(30)
    page.keyboard.press("0")
    assert page.locator(".board").bounding_box() == before


def test_page__is_readable_without_scripts(visit):
    page = visit(java_script_enabled=False)
    assert names(page) == ["Über gut", "half", "wrong"]
    assert page.locator("#val .photo:visible img:visible").count() == 3 * 5
    assert not page.locator(".tools").first.is_visible()
    assert page.locator("noscript p").first.is_visible()


def test_print__cuts_no_table(visit):
    page = visit(size=(1032, 700))  # A4 across, within its margins
    page.emulate_media(media="print")
    wide = page.locator(".scroll table:visible").evaluate_all(
        "all => all.map(one => one.offsetWidth)"
    )
    assert wide and max(wide) <= 1032
    assert (
        page.locator(".scroll").first.evaluate("one => getComputedStyle(one).overflowX")
        == "visible"
    )
    assert not page.locator(".tools").first.is_visible()


def test_page__without_masks_finds_and_shows_photographs(visit, tmp_path):
    page = visit(file=written(tmp_path, masks=False, truth_network=False))
    tools = page.locator("#val .tools")
    assert tools.locator("[name=product], [name=low], [name=actual]").count() == 0
    assert names(page) == ["wrong", "half", "Über gut"]  # the CAM is right: the most doubtful first
    tools.get_by_label("Order").select_option("low first")
    assert names(page) == ["Über gut", "half", "wrong"]
    tools.get_by_role("searchbox").fill("l")
    assert names(page) == ["half"]
    page.locator("#val .photo h3 a:visible").click()
    page.wait_for_selector("#viewer canvas[aria-label='Prediction, half']")
    titles = page.locator("#viewer .stages-bar button").all_inner_texts()
    assert titles == ["1 Photograph", "2 CAM", "3 Prediction"]
