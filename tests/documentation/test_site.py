"""The site as `make docs` builds it: complete, offline, readable at every size.

What needs a browser is skipped where there is no Chromium.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pages import PAGES, ROOT, blocks
from sphinx.errors import ExtensionError

from tools.reference import site
from tools.reference.commands import page as commands_page

pytestmark = pytest.mark.slow  # builds the site

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("site")
    (options,) = re.findall(r"-m sphinx (.*) docs build/site", (ROOT / "Makefile").read_text())
    run = subprocess.run(
        [sys.executable, "-m", "sphinx", *options.split(), "docs", str(out)],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return out


def text(built: Path, page: str) -> str:
    return (built / f"{page}.html").read_text(encoding="utf-8")


def test_site__has_every_page_and_each_leads_to_each(built) -> None:
    names = [page.relative_to(ROOT / "docs").with_suffix(".html").as_posix() for page in PAGES]
    home = text(built, "index")
    for name in names:
        assert (built / name).is_file()
        # The pages of the decisions are listed on their own index.
        listing = home if not name.startswith("decisions/0") else text(built, "decisions/index")
        assert name == "index.html" or Path(name).name in listing


def test_site__asks_no_network(built) -> None:
    loading = re.compile(r"<(?:script|link|img|iframe)[^>]*?(?:src|href)=\"(?:https?:)?//[^\"]*\"")
    for page in built.rglob("*.html"):
        assert loading.findall(page.read_text(encoding="utf-8")) == [], page.name
    for sheet in built.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(?:https?:)?//|@import", sheet.read_text("utf-8"))


def test_site__is_small(built) -> None:
    for page in built.rglob("*.html"):
        assert page.stat().st_size < 400_000, page.name
    assert sum(file.stat().st_size for file in (built / "_static").glob("*.woff*")) == 0


def test_reference__is_made_from_the_code(built) -> None:
    parameters = text(built, "reference/parameters")
    assert 'id="train-cam-rsc-region-rule"' in parameters
    assert "made from the code" not in parameters
    for verb in re.findall(r"^### `(.*)`$", commands_page(ROOT), re.MULTILINE):
        assert f'<span class="pre">{verb.split()[-1]}</span>' in text(built, "reference/commands")
    assert 'id="rca.load"' in text(built, "reference/python")
    assert 'id="rca.method.contrast.info_nce"' in text(built, "reference/python")


def test_method__has_its_equations_as_mathml(built) -> None:
    method = text(built, "explanation/method")
    equations = len(re.findall(r"^\$\$$", (ROOT / "docs/explanation/method.md").read_text(), re.M))
    assert method.count('display="block"') == equations / 2 > 5
    assert "\\frac" not in method and "$$" not in method


def test_architecture__holds_the_drawings_themselves(built) -> None:
    assert (
        text(built, "explanation/architecture").count(
            '<svg xmlns="http://www.w3.org/2000/svg" class="rca"'
        )
        == 2
    )


def test_mark__of_nothing_is_refused() -> None:
    with pytest.raises(ExtensionError, match="nothing of that name; there are"):
        site.filled_in("<!-- made from the code: weather -->", ROOT)
    assert site.filled_in("text `<!-- made from the code: x -->` text", ROOT).startswith("text")
    assert blocks("```python\nx\n```\n", "python") == ["x\n"]


@pytest.mark.skipif(
    not CHROMIUM, reason="no Chromium: apt-get install chromium, or install Google Chrome"
)
@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark")])
def test_browser__shows_every_page_without_fault(built, width, scheme) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    faults = []
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        view = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        view.on("pageerror", lambda error: faults.append(str(error)))
        view.on("requestfailed", lambda request: faults.append(request.url))
        view.on(
            "request",
            lambda request: faults.extend(
                [request.url] if not request.url.startswith(("file:", "data:")) else []
            ),
        )
        for page in sorted(built.rglob("*.html")):
            if "_modules" in page.parts:
                continue
            view.goto(page.as_uri())
            beyond = view.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert beyond <= 0, f"{page.name} is {beyond} px wider than {width}"
        view.goto((built / "search.html").as_uri() + "?q=temperature")
        view.wait_for_selector("#search-results li a")
        browser.close()
    assert faults == []
