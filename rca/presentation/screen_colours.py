"""Colours of classes for a screen: seen on a light page and on a dark one, and told apart.

VOC's colours are made for files. "Cat" is #400000, which nobody sees on a dark page. The colours
here have a contrast of at least 3:1 to both pages. That leaves them much the same lightness, and
with red-green blindness few hues to tell apart; so classes that are often in one photograph choose
first, and keep most away from each other as the colour-blind see them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import combinations, product

import numpy as np

PAGES = ((0xFB, 0xFA, 0xF7), (0x16, 0x18, 0x1A))  # of the style sheet: light and dark
CONTRAST = 3.05  # WCAG's for graphics is 3; colours are rounded
BACKGROUND, IGNORED = (244, 243, 240), (154, 154, 154)
# Linear RGB as seen with no cones for red and none for green (Machado et al. 2009, severity 1).
SIGHTS = np.array(
    [
        np.eye(3),
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ],
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ],
    ]
)
TO_LMS = np.array(  # linear RGB to OKLab's cone responses, and these to OKLab (Ottosson 2020)
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)
CHROMA = (0.06, 0.2)  # in OKLab: no greys, nothing that glares
STEP = 15  # of the colours to choose among, in each channel
RARE = 0.6  # how far a pair that is never seen together counts, beside the commonest pair


def screen_palette(classes: Sequence[str], tags: Iterable[Sequence[str]]) -> np.ndarray:
    """Return the colours of labels 0 … C and 255, uint8 (256, 3); all others have that of 255.

    Args:
        classes: C class names, in label order.
        tags: the classes of each image, from which follows who is often beside whom.
    """
    choices = _candidates()
    seen = [_lab(choices, sight) for sight in SIGHTS]
    together = Counter(frozenset(pair) for names in tags for pair in combinations(set(names), 2))
    most = max(together.values(), default=1)
    of_class = {name: sum(n for pair, n in together.items() if name in pair) for name in classes}
    chosen: dict[str, int] = {}
    for name in sorted(classes, key=lambda name: -of_class[name]):
        room = np.full(len(choices), np.inf)
        for other, place in chosen.items():
            weight = RARE + (1 - RARE) * together[frozenset((name, other))] / most
            apart = [np.linalg.norm(lab - lab[place], axis=1) for lab in seen]
            # The eyes that tell the two apart least, yet never by them alone.
            room = np.minimum(room, (np.min(apart, axis=0) + 0.5 * apart[0]) / weight)
        if not chosen:
            room = -seen[0][:, 2]  # the bluest, which every eye tells from most others
        chosen[name] = int(np.argmax(np.round(room, 6)))
    palette = np.tile(np.array(IGNORED, np.uint8), (256, 1))
    palette[0] = BACKGROUND
    for label, name in enumerate(classes, start=1):
        palette[label] = choices[chosen[name]]
    return palette


def contrast(colour: Sequence[int], other: Sequence[int]) -> float:
    """Compute WCAG's contrast ratio, from 1 to 21."""
    low, high = sorted(float(_luminance(np.array([rgb]))[0]) for rgb in (colour, other))
    return (high + 0.05) / (low + 0.05)


def _candidates() -> np.ndarray:
    """List all colourful colours of a grid that both pages show well, uint8 (N, 3)."""
    steps = range(0, 256, STEP)
    grid = np.array(list(product(steps, steps, steps)), np.uint8)
    light = _luminance(grid)
    paper, night = (_luminance(np.array([page]))[0] for page in PAGES)
    seen = ((paper + 0.05) / (light + 0.05) >= CONTRAST) & (
        (light + 0.05) / (night + 0.05) >= CONTRAST
    )
    chroma = np.linalg.norm(_lab(grid, SIGHTS[0])[:, 1:], axis=1)
    return grid[seen & (chroma >= CHROMA[0]) & (chroma <= CHROMA[1])]


def _linear(colours: np.ndarray) -> np.ndarray:
    share = colours.astype(np.float64) / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def _luminance(colours: np.ndarray) -> np.ndarray:
    return _linear(colours) @ np.array([0.2126, 0.7152, 0.0722])


def _lab(colours: np.ndarray, sight: np.ndarray) -> np.ndarray:
    """Convert the colours, as `sight` sees them, to OKLab, (N, 3)."""
    seen = np.clip(_linear(colours) @ sight.T, 0, 1)
    return np.cbrt(seen @ TO_LMS.T) @ TO_LAB.T
