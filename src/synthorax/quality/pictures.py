"""Pictures for pages that hold everything inside: films, outlines, what an edit changed."""

import base64
import io

import numpy as np
from PIL import Image

IMAGE_PX = 288
#: Grey levels (film in [0, 1]) that the difference map shows as full red or full blue.
DIFFERENCE_REACH = 0.25

_GREY, _RED, _BLUE = np.array([150, 150, 150]), np.array([196, 30, 30]), np.array([30, 70, 200])


def difference_map(after: np.ndarray, before: np.ndarray) -> np.ndarray:
    """What became brighter (red) and darker (blue), grey where nothing changed.

    Args:
        after: ``(H, W)`` in [0, 1].
        before: ``(H, W)`` in [0, 1].

    Returns:
        ``(H, W, 3)`` uint8; saturated at a change of ``DIFFERENCE_REACH``.
    """
    change = np.clip((after - before) / DIFFERENCE_REACH, -1, 1)[..., None]
    colour = np.where(change > 0, _RED, _BLUE)
    return np.rint(_GREY + np.abs(change) * (colour - _GREY)).astype(np.uint8)


def outlined(film: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The film ``(H, W)`` as uint8 RGB with the mask's border drawn in yellow, two pixels wide inside it."""
    inside = mask > 0.5
    core = inside.copy()
    for axis in (0, 1):
        for step in (-2, -1, 1, 2):
            core &= np.roll(inside, step, axis)
    rgb = np.repeat(np.rint(film * 255).astype(np.uint8)[..., None], 3, axis=2)
    rgb[inside & ~core] = (255, 214, 10)
    return rgb


def data_uri(picture: np.ndarray) -> str:
    """A film ``(H, W)`` in [0, 1], or uint8 pixels, as a small JPEG inside a page."""
    pixels = picture if picture.dtype == np.uint8 else np.rint(picture * 255).astype(np.uint8)
    image = Image.fromarray(pixels)
    image.thumbnail((IMAGE_PX, IMAGE_PX), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
