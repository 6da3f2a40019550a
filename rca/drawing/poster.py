"""A picture of a few images and what became of them, for places that show no HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw, ImageFont

TILE = (240, 180)
GAP, MARGIN, LINE = 8, 20, 30
INK, PAPER = (34, 34, 34), (255, 255, 255)


def poster(
    titles: Sequence[str],
    rows: Sequence[Sequence[Image.Image]],
    legend: Mapping[str, str],
) -> Image.Image:
    """Columns under their titles, centred, and the classes' colours at the foot.

    Args:
        titles: one a column.
        rows: pictures of at most `TILE`, one a column.
        legend: class → colour as `#rrggbb`.
    """
    width = 2 * MARGIN + len(titles) * (TILE[0] + GAP) - GAP
    heights = [max(picture.height for picture in row) for row in rows]
    entries = _flow(legend, width - 2 * MARGIN)
    foot = MARGIN + LINE * (1 + max((line for line, _, _ in entries), default=0))
    height = MARGIN + LINE + sum(heights) + GAP * len(rows) + foot
    canvas = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(canvas)
    for column, title in enumerate(titles):
        centre = MARGIN + column * (TILE[0] + GAP) + TILE[0] // 2
        draw.text((centre, MARGIN), title, INK, _font(), anchor="mt")
    top = MARGIN + LINE
    for row, row_height in zip(rows, heights, strict=True):
        for column, picture in enumerate(row):
            left = MARGIN + column * (TILE[0] + GAP) + (TILE[0] - picture.width) // 2
            canvas.paste(picture, (left, top + (row_height - picture.height) // 2))
        top += row_height + GAP
    for line, left, name in entries:
        middle = top + LINE * line + LINE // 2
        x = MARGIN + left
        draw.rounded_rectangle((x, middle - 8, x + 24, middle + 8), 3, legend[name])
        draw.text((x + 32, middle), name, INK, _font(), anchor="lm")
    return canvas


def _font() -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(17)  # comes with Pillow: the same on every machine


def _flow(names: Mapping[str, object], width: int) -> list[tuple[int, int, str]]:
    """(line, left, name) of legend entries set like words in a paragraph."""
    placed, line, left = [], 0, 0
    for name in names:
        needed = 32 + round(_font().getlength(name))
        if left and left + needed > width:
            line, left = line + 1, 0
        placed.append((line, left, name))
        left += needed + 24
    return placed
