"""What the tests of pages in a real browser share; their fixtures are in tests/conftest.py."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

AXE = "axe-core@4.14.1"
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
WIDE, PHONE = (1440, 1000), (390, 844)
NEEDED = pytest.mark.skipif(
    not (CHROMIUM and importlib.util.find_spec("playwright")),
    reason="no playwright, or no Chromium: apt-get install chromium, or install Google Chrome",
)


def axe_script(folder: Path) -> str:
    """The script of axe-core, from npm or from an earlier run; a test that cannot have it skips."""
    script = folder / f"{AXE}.js"
    if not script.is_file():
        if not shutil.which("npm"):
            pytest.skip("no npm to fetch axe-core with")
        packed = subprocess.run(
            ["npm", "pack", AXE, "--pack-destination", str(folder)],
            capture_output=True,
            text=True,
            timeout=120,
        )
        if packed.returncode:
            pytest.skip(f"axe-core could not be fetched: {packed.stderr.strip().splitlines()[-1:]}")
        with tarfile.open(folder / packed.stdout.split()[-1]) as archive:
            script.write_bytes(archive.extractfile("package/axe.min.js").read())
    return script.read_text()


def check_accessible_and_fits(page, axe: str, width: int, split: str) -> None:
    """All of a page opened, then the viewer: it fits in the width, and axe finds no fault."""
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true })")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert not serious_faults(page, axe)
    page.locator(f"#{split} .photo h3 a").first.click()
    page.wait_for_selector("#viewer[open] canvas[aria-label]")
    assert not serious_faults(page, axe)


def shown_names(page, split: str) -> list[str]:
    """The photographs of a split that are shown, in their order."""
    return [t.strip() for t in page.locator(f"#{split} .photo:visible h3").all_text_contents()]


def serious_faults(page, axe: str) -> list[str]:
    """What axe-core finds of serious and critical faults in accessibility."""
    page.evaluate(axe)
    return [
        f"{one['id']}: {node['html'][:200]} {node['failureSummary']}"
        for one in page.evaluate("axe.run()")["violations"]
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


def column(table, place: int) -> list[str]:
    """The cells of a column of a table, in the rows that are shown."""
    return table.locator(f"tbody tr:visible > :nth-child({place})").all_inner_texts()


def pixel(page, canvas: str, x: float, y: float) -> list[int]:
    """Colour of a canvas at a share of its width and height."""
    return page.locator(canvas).first.evaluate(
        "(c, [x, y]) => [...c.getContext('2d').getImageData(x * c.width, y * c.height, 1, 1).data]",
        [x, y],
    )[:3]
