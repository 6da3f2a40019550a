"""`rca compare --page`: results side by side on one page, in the style of the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

from rca.data.palette import voc_palette
from rca.evaluation import comparison
from rca.evaluation.protocol import in_words
from rca.presentation import compare_tables as tables
from rca.presentation.compare_photographs import Beside, beside
from rca.presentation.compare_results import Result, on_this_machine, paired_gains
from rca.presentation.experiments import Experiment
from rca.presentation.html.page import render
from rca.presentation.origin import origin
from rca.presentation.page_colours import page_palettes
from rca.presentation.photograph_entries import group, picture_side
from rca.presentation.screen_colours import screen_palette
from rca.runtime.files import write_text

PHOTOGRAPHS = 60  # of each split, unless the user says otherwise


def write(results: Sequence[Result], out: Path, count: int = PHOTOGRAPHS) -> None:
    """Write the page as one self-contained file.

    Args:
        results: two or more results; gains are relative to the first.
        out: the HTML file.
        count: the maximum number of photographs of each split.

    Raises:
        DataError: a mask or a score of a result is missing or damaged.
    """
    runs = [result.runs for result in results]
    shared = comparison.shared_products(runs)
    found = comparison.differences(runs, shared)
    experiments, why_not = on_this_machine(results)
    gains = paired_gains(experiments, shared, found)
    main = tables.main_product(shared)
    names = tables.class_names(runs)
    scores = tables.score_table(runs, shared, found, gains)
    page = render(
        "compare.html.j2",
        results=[result.name for result in results],
        verdict=comparison.verdict(shared, found, "below"),
        comparable=not any(one.touches for one in found),
        main=next((row for row in scores if main and row["name"] == main.name), None),
        **_origins(results),
        scores=scores,
        paired=bool(gains),
        measures=tables.measure_table(runs),
        classes=tables.class_tables(runs, gains, names),
        differences=tables.difference_table(shared, found),
        protocol=_in_words(runs[0].metrics[0]["protocol"]) if main else "",
        names=names,
        **_photographs(experiments, count, names),
        why_not=why_not,
    )
    write_text(out, page)


def short_names(results: Sequence[Result]) -> Sequence[Result]:
    """Shorten the results' names to their last parts, if these are distinct."""
    names = [",".join(PurePath(part).name for part in result.name.split(",")) for result in results]
    if len(set(names)) < len(names) or not all(names):
        return results
    return [
        replace(result, runs=replace(result.runs, name=name))
        for result, name in zip(results, names, strict=True)
    ]


def _origins(results: Sequence[Result]) -> dict[str, Any]:
    """Describe each result's origin: what is the same in all, what is its own, how to repeat it."""
    every = [_terms(result) for result in results]
    held = Counter((term, text) for terms in every for term, text in terms.items())
    same = {term: text for (term, text), number in held.items() if number == len(results)}
    return {
        "same": list(same.items()),
        "own": [
            {
                "name": result.name,
                "terms": [(term, text) for term, text in terms.items() if term not in same],
                "repeat": "\n\n".join(found.repeat for found in result.found if found.repeat),
            }
            for result, terms in zip(results, every, strict=True)
        ],
    }


def _in_words(protocol: Mapping[str, Any]) -> str:
    """Describe the protocol in a paragraph; return nothing if an older version recorded less."""
    try:
        return in_words(protocol)
    except KeyError:
        return ""


def _terms(result: Result) -> dict[str, str]:
    """Map each term of a result's origin to its text; for several runs, to each text once."""
    texts: dict[str, dict[str, None]] = {}
    for found in result.found:
        for term, text in [*found.terms, *origin(found.metrics)]:
            texts.setdefault(term, {})[text] = None
    return {term: "; ".join(of_term) for term, of_term in texts.items()}


def _photographs(
    experiments: Sequence[Experiment], count: int, names: Sequence[str]
) -> dict[str, Any]:
    """Prepare the page's variables about single images: their pictures, facts and colours."""
    found: dict[str, Beside | str] = {}
    if experiments and count:
        found = {split: beside(experiments, split, count) for split in ("val", "train")}
    splits = [one for one in found.values() if isinstance(one, Beside)]
    records = experiments[0].data.records if experiments else ()
    palette = screen_palette(names[1:], [record.tags for record in records])
    files = experiments[0].data.palette if experiments else voc_palette()
    side = picture_side([one.shown for one in splits], palette, "--photographs limits it")
    return {
        "side": side,
        "wanted": count,
        "missing": {split: why for split, why in found.items() if isinstance(why, str)},
        "groups": {
            one.shown.split: {
                **group(one.shown, side, palette),
                "title": one.title,
                "images": one.images,
            }
            for one in splits
        },
        "facts": {
            "classes": list(names),
            "palettes": page_palettes(len(names) - 1, palette, files),
            "splits": {one.shown.split: one.facts for one in splits},
        },
    }
