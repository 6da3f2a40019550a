"""The drawings of docs/explanation/architecture.md: the pipeline, and who may import whom.

Their colours are the site's where the page embeds the drawing, else those of the viewer's theme.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from textwrap import wrap

import yaml

from tools.reference import pipeline

PRESET = "configs/debug.yaml"  # with a round of self-training
BOX, GAP = (226, 68), (26, 28)  # the size of a stage, and the space between stages
MARGIN, TOP = 4, 16  # around the drawing
WIDTH, LINE = 496, 30  # the width of all layers, and the height of a line of parts

STYLE = """<style>
  .rca { font: 13px system-ui, sans-serif; --ink: #1f2328; --soft: #59636e; --fill: #f6f8fa;
    --line: #818b98; }
  @media (prefers-color-scheme: dark) {
    .rca { --ink: #f0f6fc; --soft: #9198a1; --fill: #212830; --line: #656c76; } }
  .rca text { fill: var(--color-foreground-primary, var(--ink)); }
  .rca .soft { fill: var(--color-foreground-secondary, var(--soft)); font-size: 11.5px; }
  .rca .name { font-family: ui-monospace, monospace; font-weight: 600; }
  .rca rect { fill: var(--color-background-secondary, var(--fill));
    stroke: var(--color-foreground-border, var(--line)); }
  .rca path { fill: none; stroke: var(--color-foreground-muted, var(--line)); stroke-width: 1.5; }
  .rca .tip { fill: var(--color-foreground-muted, var(--line)); stroke: none; }
</style>"""


def pipeline_svg(root: Path) -> str:
    """Draw the stages of dvc.yaml with what they do; arrows lead to stages that read from them."""
    params = yaml.safe_load((root / PRESET).read_text(encoding="utf-8"))
    needs = pipeline.needs(root, params)
    rows = _rows(needs)
    # The first half runs down the left side, the second beside it.
    half = -(-len(rows) // 2)
    place = {
        name: _corner(row % half, column + row // half)
        for row, names in enumerate(rows)
        for column, name in enumerate(names)
    }
    texts = {name: stage["desc"] for name, stage in pipeline.stages(root).items()}
    parts = [_arrow(place[source], place[name]) for name in needs for source in sorted(needs[name])]
    parts += [_box(place[name], name, texts[name.partition("@")[0]]) for name in needs]
    right, bottom = (max(corner[axis] for corner in place.values()) for axis in (0, 1))
    return _svg(
        "The stages of the pipeline", right + BOX[0] + MARGIN, bottom + BOX[1] + MARGIN, parts
    )


def _corner(row: int, column: int) -> tuple[int, int]:
    return MARGIN + column * (BOX[0] + GAP[0]), TOP + row * (BOX[1] + GAP[1])


def layers_svg(root: Path) -> str:
    """Draw the layers of the import contract in pyproject.toml, the outermost on top."""
    with (root / "pyproject.toml").open("rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    (layers,) = [item["layers"] for item in contracts if item["type"] == "layers"]
    top, parts = MARGIN, []
    for number, layer in enumerate(layers):
        lines, apart = _rows_of_four(layer), ":" not in layer
        height = len(lines) * (LINE + 8) - 8
        if number:
            parts.append(_arrow_down(MARGIN + WIDTH / 2, top - GAP[1], top))
        if not apart:  # these may import each other: one box for all of them
            parts.append(_rect(MARGIN, top, WIDTH, height))
        for row, names in enumerate(lines):
            own = (WIDTH + 8) / (len(names) if apart else 4)
            for column, name in enumerate(names):
                x, y = MARGIN + column * own, top + row * (LINE + 8)
                parts += [_rect(x, y, own - 8, LINE)] if apart else []
                parts.append(_text(x + 12, y + 20, name, "name"))
        top += height + GAP[1]
    return _svg("Who may import whom in rca", WIDTH + 2 * MARGIN, top - GAP[1] + MARGIN, parts)


def _rows_of_four(layer: str) -> list[list[str]]:
    names = [name.strip().removeprefix("rca.") for name in layer.replace(":", "|").split("|")]
    return [names[start : start + 4] for start in range(0, len(names), 4)]


def _rows(needs: Mapping[str, set[str]]) -> list[list[str]]:
    """Group stages by the longest path to them, each row in the order of the pipeline."""

    def depth(name: str) -> int:
        return 1 + max((depth(source) for source in needs[name]), default=-1)

    depths = {name: depth(name) for name in needs}
    return [
        [name for name in needs if depths[name] == row] for row in range(max(depths.values()) + 1)
    ]


def _box(corner: tuple[int, int], name: str, desc: str) -> str:
    left, top = corner
    lines = [
        _text(left + 12, top + 34 + 13 * number, line, "soft")
        for number, line in enumerate(wrap(desc.replace("`", ""), 34))
    ]
    return "\n".join([_rect(left, top, *BOX), _text(left + 12, top + 19, name, "name"), *lines])


def _rect(x: float, y: float, width: float, height: float) -> str:
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6"/>'


def _arrow(source: tuple[int, int], target: tuple[int, int]) -> str:
    """Draw an arrow to a box below, or up between the columns to a box that is not below."""
    x, y = source[0] + BOX[0] / 2, source[1] + BOX[1]
    end, bottom = target[0] + BOX[0] / 2, target[1]
    if bottom > y and x == end:
        return _arrow_down(x, y, bottom)
    if bottom > y:
        way = f"M{x:g} {y}V{bottom - 15}H{end:g}V{bottom - 5}"
    else:
        side, middle = source[0] + BOX[0], source[1] + BOX[1] / 2
        way = f"M{side} {middle:g}h{GAP[0] / 2:g}V{bottom - 12}H{end:g}V{bottom - 5}"
    return f'<path d="{way}"/>{_tip(end, bottom)}'


def _arrow_down(x: float, top: float, bottom: float) -> str:
    return f'<path d="M{x:g} {top:g}V{bottom - 5:g}"/>{_tip(x, bottom)}'


def _tip(x: float, y: float) -> str:
    return f'<path class="tip" d="M{x - 4:g} {y - 7:g}h8l-4 7z"/>'


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text x="{x:g}" y="{y:g}" class="{kind}">{escape(text)}</text>'


def _svg(title: str, width: float, height: float, parts: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="rca" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}" role="img" aria-label="{title}">'
    )
    return "\n".join([head, STYLE, *parts, "</svg>"]) + "\n"
