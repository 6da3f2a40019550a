"""The page of `rca compare` in a real browser: sorted, enlarged, at both sizes and themes."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from browser_pages import NEEDED, PHONE, WIDE, check_accessible_and_fits, column, pixel, shown_names
from tiny_results import evaluate_results, tiny_params, write_results

from rca import cli
from rca.data.images import write_label_map
from rca.data.palette import voc_palette

# The masks of the second result: `a` loses its cat, `b` gains a dog by mistake, `v` is right.
CHANGED = {
    "crf/a": [[0, 0, 0, 0], [0, 0, 0, 1]],
    "crf/b": [[2, 0, 2, 0]],
    "infer_seg/pseudo/v": [[0, 2], [2, 2]],
}

pytestmark = NEEDED


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    """The page of two results whose masks differ in every image."""
    folder = tmp_path_factory.mktemp("compared")
    results = write_results(folder)
    evaluate_results(results, tiny_params())
    one = results.rename(folder / "one")
    other = folder / "other"
    shutil.copytree(one, other)
    for name, labels in CHANGED.items():
        write_label_map(other / f"{name}.png", np.array(labels, np.uint8), voc_palette())
    shutil.rmtree(other / "evaluate")
    evaluate_results(other, tiny_params(boundary=0.05))
    return compared(folder / "page.html", one, other)


@pytest.fixture(scope="module")
def file_of_three(file) -> Path:
    """The page of three results: their columns do not fit on a phone, not even of the classes."""
    one, other, third = (file.with_name(name) for name in ("one", "other", "third"))
    shutil.copytree(other, third)
    return compared(file.with_name("three.html"), one, other, third)


def compared(out: Path, *results: Path) -> Path:
    """Write the page of `rca compare` for these results."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as end:
        patch.setattr(sys, "argv", ["rca", "compare", *map(str, results), "--page", str(out)])
        cli.main()
    assert not end.value.code
    return out


@pytest.fixture
def visit(visits, file):
    def opened(hash: str = "", size: tuple[int, int] = WIDE, **options):
        return visits(f"{file.as_uri()}{hash}", size, **options)

    return opened


def names(page) -> list[str]:
    """The training photographs that are shown, in their order."""
    return shown_names(page, "train")


@pytest.mark.slow
@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_page__is_accessible_and_fits(visit, axe, size, theme):
    check_accessible_and_fits(visit(size=size, color_scheme=theme), axe, size[0], "train")


@pytest.mark.parametrize("page_of", ["file", "file_of_three"])
@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_tables__do_not_scroll_sideways(visits, request, page_of, size):
    page = visits(request.getfixturevalue(page_of).as_uri(), size)
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true })")
    assert page.evaluate("document.documentElement.scrollWidth") == size[0]
    tables = page.locator("#scores .scroll, #protocol .scroll, #classes .scroll").evaluate_all(
        "all => all.map(one => [one.ariaLabel, one.scrollWidth - one.clientWidth])"
    )
    assert len(tables) > 3
    assert not [label for label, beyond in tables if beyond > 0]


def test_tables__on_a_phone_name_the_column_of_each_cell_and_still_sort(visit):
    table = visit(size=PHONE).locator("#scores table").first
    table.get_by_role("button", name="Gain").click()
    best = table.locator("tbody tr").first
    labels = best.locator("td").evaluate_all(
        "all => all.map(one => getComputedStyle(one, '::before').content.split(' /')[0])"
    )
    assert labels == ["none", '"one"', '"other"', '"Gain"', '"Comparable"']
    assert best.locator("td").nth(3).inner_text().startswith("+")


def test_tables__sort_by_gain_and_filter_rows(visit):
    page = visit()
    table = page.locator("#scores table").first
    table.get_by_role("button", name="Gain").click()
    gains = [text.split("\n")[0].replace("−", "-") for text in column(table, 5)]
    known = [float(text) for text in gains if text != "–"]
    assert known == sorted(known, reverse=True) and known[0] > 0 > known[-1]
    page.get_by_label("Rows with, mIoU of each product").fill("crf")
    assert column(table, 1) == ["Pseudo-labels after CRF"]


def test_photographs__sort_by_size_and_direction_of_the_change(visit):
    page = visit()
    assert names(page) == ["a", "b"]  # the most changed first
    told = page.locator("#train .found:visible").all_text_contents()
    assert all(text.startswith("−") for text in told)
    tools = page.locator("#train .tools")
    tools.get_by_label("Order").select_option("low first")
    assert names(page) == ["b", "a"]
    tools.get_by_label("Sort by").select_option("pixels that differ")
    tools.get_by_label("Order").select_option("high first")
    assert names(page) == ["b", "a"]  # 3 of 4 pixels and 4 of 8
    tools.get_by_role("searchbox").fill("a")
    assert names(page) == ["a"]


def test_photographs__show_one_result_as_a_grid(visit):
    page = visit()
    page.locator("#train .tools").get_by_label("Show").select_option("other")
    shown = page.locator("#train figure:visible").evaluate_all(
        "all => all.map(one => one.dataset.stage)"
    )
    assert shown == ["result-2"] * 2


def test_viewer__steps_through_both_masks_and_the_difference(visit):
    page = visit("#image-a")
    pressed = page.locator("#viewer .stages-bar [aria-pressed=true]")
    assert pressed.inner_text().startswith("3 other")
    titles = []
    for key in "123456":
        page.keyboard.press(key)
        titles.append(pressed.inner_text().split(" ")[1].strip(" .0123456789"))
    assert titles == ["Photograph", "one", "other", "Difference", "Truth", "Errors"]
    page.keyboard.press("4")
    page.wait_for_selector("#viewer canvas[aria-label='Difference, a']")
    red, green, blue = pixel(page, "#viewer canvas.under", 0.9, 0.1)
    assert red > green > blue  # the cat's pixel that only the first has right
    assert "only one is right" in page.locator("#viewer .legend").inner_text()
    page.keyboard.press("ArrowRight")
    assert page.locator("#viewer h2").inner_text() == "b"
    page.keyboard.press("Escape")
    assert not page.locator("#viewer").is_visible()


def test_page__is_readable_without_scripts(visit):
    page = visit(java_script_enabled=False)
    assert names(page) == ["a", "b"]
    assert page.locator("#train .photo:visible img:visible").count() == 2 * 5
    assert not page.locator(".tools").first.is_visible()
    assert page.locator("#scores table").first.is_visible()
