"""The report of a data set whose names are HTML: they are shown, and nothing of them is obeyed."""

from __future__ import annotations

from html.parser import HTMLParser

import tiny_results
from tiny_results import evaluate_results, tiny_params, write_results

from rca.config import Report
from rca.stages import report

IMAGE = "<script>alert(1)<script>\"'&"
CLASS = "</script><img src=x onerror=alert(1)>"
NAMES = {"v": IMAGE, "cat": CLASS}


class Elements(HTMLParser):
    """Counts elements, and collects attributes that run code."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.count: dict[str, int] = {}
        self.handlers: list[str] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.count[tag] = self.count.get(tag, 0) + 1
        self.handlers += [name for name, _ in attributes if name.startswith("on")]

    def handle_data(self, data):
        self.words.append(data)


def write_page(folder, monkeypatch, names: dict[str, str]) -> str:
    """The page of the tiny results, whose image `v` and class `cat` have other names."""
    monkeypatch.setattr(
        tiny_results,
        "TAGS",
        {
            names.get(image, image): tuple(names.get(tag, tag) for tag in tags)
            for image, tags in tiny_results.TAGS.items()
        },
    )
    classes = tuple(names.get(name, name) for name in tiny_results.CLASSES)
    monkeypatch.setattr(tiny_results, "CLASSES", classes)
    for table in ("TRUTH", "CAMS"):
        content = getattr(tiny_results, table)
        monkeypatch.setattr(
            tiny_results, table, {names.get(image, image): v for image, v in content.items()}
        )
    folders = {name: name.rpartition("/") for name in tiny_results.MAPS}
    maps = {
        f"{folders[name][0]}/{names.get(folders[name][2], folders[name][2])}": values
        for name, values in tiny_results.MAPS.items()
    }
    monkeypatch.setattr(tiny_results, "MAPS", maps)
    results = write_results(folder, classes=classes)
    evaluate_results(results, tiny_params())
    report.run(Report(), index=results / "index", results=results, out=results / "report")
    return (results / "report/report.html").read_text()


def test_report__escapes_names_of_photographs_and_classes(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        plain = Elements(write_page(tmp_path / "plain", patch, {}))
    page = write_page(tmp_path / "hostile", monkeypatch, NAMES)
    hostile = Elements(page)

    assert hostile.count == plain.count
    assert hostile.handlers == plain.handlers
    assert any(IMAGE in words for words in hostile.words)
    assert any(CLASS in words for words in hostile.words)
