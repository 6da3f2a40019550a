"""Label maps, CAMs and single pixels drawn over their photograph.

Everything is drawn at twice the final size and then reduced, so that contours are smooth.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from rca.config import IGNORE

OVERSAMPLING = 2
FILL = 0.6  # opacity of a class's colour
GREY, PALE = 0.5, 0.15  # shares of grey and of white in the photograph below it
CONTOUR = 3  # pixels to each side, at the size drawn
CROP = 1 / 3  # side of the square around a single pixel, of the photograph's short side
RINGS = ((11, 6, "black"), (10, 4, "white"))  # radius and width, at the size drawn, and colour
HEAT = np.array(  # nine steps of matplotlib's `inferno`
    [
        (0, 0, 4), (33, 12, 74), (87, 16, 110), (138, 34, 106), (188, 55, 84),
        (228, 90, 49), (249, 142, 9), (249, 203, 53), (252, 255, 164),
    ]
)  # fmt: skip


def fit(photo: Image.Image, width: int, height: int) -> Image.Image:
    """Resize `photo` to the largest size within width × height, keeping its aspect ratio."""
    scale = min(width / photo.width, height / photo.height)
    size = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
    return photo.resize(size, Image.Resampling.LANCZOS)


def draw_labels(photo: Image.Image, labels: np.ndarray, palette: np.ndarray) -> Image.Image:
    """Draw classes as tints with a contour over a paler photograph, 255 as white hatching.

    Args:
        photo: RGB, at the size to be shown.
        labels: uint8 (H, W) of any size, 0 … C and 255.
        palette: uint8 (256, 3), label → colour.
    """
    colour, grey, labels = _enlarge(photo, labels)
    ignored = labels == IGNORE
    classes = np.where(ignored, np.uint8(0), labels)
    paints = palette.astype(np.float32)
    canvas = _mix(_mix(colour, grey, GREY), np.float32(255), PALE)
    canvas = np.where(classes[..., None] > 0, _mix(canvas, paints[classes], FILL), canvas)
    canvas[ignored] = _mix(canvas, np.float32(255), _hatching(ignored.shape))[ignored]
    paints[0] = 255
    edge = _edges(classes, CONTOUR)
    canvas[edge] = paints[classes[edge]]
    return _reduce(canvas)


def draw_cam(photo: Image.Image, scores: np.ndarray, threshold: float) -> Image.Image:
    """Draw a CAM as a heat map over the photograph in grey, with a line at `threshold`.

    Args:
        photo: RGB, at the size to be shown.
        scores: float32 (H, W) from 0 to 1, of any size.
        threshold: the background score.
    """
    _, grey, scores = _enlarge(photo, scores)
    levels = np.rint(np.clip(scores, 0, 1) * 255).astype(np.uint8)
    opacity = (0.3 + 0.45 * scores)[..., None]
    canvas = _mix(grey, _heat_table()[levels], opacity)
    canvas[_edges(scores > threshold, 1)] = 255
    return _reduce(canvas)


def draw_spot(photo: Image.Image, x: float, y: float, side: int) -> Image.Image:
    """Draw a square of the photograph with one pixel ringed, in the middle if there is room.

    Args:
        photo: RGB, of any size.
        x: the pixel's position, as a share of the width.
        y: the pixel's position, as a share of the height.
        side: the side of the picture, in pixels.
    """
    reach = max(min(photo.size) * CROP, 1)
    spot = (x * photo.width, y * photo.height)
    left, top = (
        min(max(place - reach / 2, 0), size - reach)
        for place, size in zip(spot, photo.size, strict=True)
    )
    large = side * OVERSAMPLING
    box = (left, top, left + reach, top + reach)
    picture = photo.resize((large, large), Image.Resampling.LANCZOS, box=box)
    centre = ((spot[0] - left) / reach * large, (spot[1] - top) / reach * large)
    draw = ImageDraw.Draw(picture)
    for radius, width, colour in RINGS:
        draw.circle(centre, radius, outline=colour, width=width)
    return picture.reduce(OVERSAMPLING)


def _enlarge(photo: Image.Image, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Enlarge photograph, float32 (h, w, 3), in grey, (h, w, 1), and values to drawing size."""
    size = (photo.width * OVERSAMPLING, photo.height * OVERSAMPLING)
    discrete = values.dtype == np.uint8
    method = Image.Resampling.NEAREST if discrete else Image.Resampling.BILINEAR
    large = photo.resize(size, Image.Resampling.BILINEAR)
    colour, grey = (np.asarray(image, np.float32) for image in (large, large.convert("L")))
    return colour, grey[..., None], np.asarray(Image.fromarray(values).resize(size, method))


def _mix(
    below: np.ndarray, above: np.ndarray | np.floating, opacity: np.ndarray | float
) -> np.ndarray:
    return below + (above - below) * opacity


def _reduce(canvas: np.ndarray) -> Image.Image:
    return Image.fromarray(np.rint(canvas).astype(np.uint8)).reduce(OVERSAMPLING)


def _edges(labels: np.ndarray, width: int) -> np.ndarray:
    """Find pixels with another label within `width` up, down, left or right, bool (h, w)."""
    edge = np.zeros(labels.shape, dtype=bool)
    for step in range(1, width + 1):
        vertical = labels[step:] != labels[:-step]
        horizontal = labels[:, step:] != labels[:, :-step]
        edge[step:] |= vertical
        edge[:-step] |= vertical
        edge[:, step:] |= horizontal
        edge[:, :-step] |= horizontal
    return edge


def _hatching(shape: tuple[int, int]) -> np.ndarray:
    """Compute the opacity of white diagonals on a white veil, float32 (h, w, 1)."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return np.where((rows + columns) % 14 < 5, np.float32(0.9), np.float32(0.45))[..., None]


def _heat_table() -> np.ndarray:
    """Interpolate the colour of each of 256 levels, float32 (256, 3)."""
    position = np.linspace(0, len(HEAT) - 1, 256)
    channels = [np.interp(position, range(len(HEAT)), channel) for channel in HEAT.T]
    return np.stack(channels, axis=1).astype(np.float32)
