"""A mark: what one rater said of one film, where, and the pixels it covers.

Coordinates are pixels of the grid that the annotation was drawn on, x to the right, y down; pixel (0, 0) covers 0 to 1.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

#: ``none``: looked for (``label``, or anything where that is None) and not there. ``label``: there, without a place.
KINDS = ("none", "label", "box", "ellipse", "polygon", "mask")
Box = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class Mark:
    """One annotation.

    Attributes:
        image_id: as the films' manifest has it.
        label: the set's own word; None only for ``none``: no finding at all.
        kind: one of :data:`KINDS`.
        rater: who, where the set says.
        box: x_min, y_min, x_max, y_max; of an ellipse its bounding box.
        points: ``(N, 2)`` x and y of a polygon's corners.
        mask: draws the mask, bool ``(H, W)``, when it is needed.
        size: height and width of the grid that it was drawn on; None where only the film says.
        problem: what is wrong with the row, in a sentence that names the file; such a mark is rejected.
    """

    image_id: str
    label: str | None
    kind: str
    rater: str | None = None
    box: Box | None = None
    points: np.ndarray | None = None
    mask: Callable[[], np.ndarray] | None = None
    size: tuple[int, int] | None = None
    problem: str | None = None


@dataclass(frozen=True)
class MarkedSet:
    """What a reader hands over: the marks film by film, the films where the set's folder has them, and notes."""

    by_film: Iterable[tuple[str, list[Mark]]]
    films: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def box_mark(image: str, label: str | None, corners: Sequence[float | None], place: str, **more: Any) -> Mark:
    """A box, or a problem where a corner is blank or the box has no area; ``place`` names file and row."""
    x_min, y_min, x_max, y_max = corners
    if None not in corners and x_min < x_max and y_min < y_max:  # type: ignore[operator]
        return Mark(image, label, "box", box=(x_min, y_min, x_max, y_max), **more)  # type: ignore[arg-type]
    problem = f"{place}: the box from {x_min}, {y_min} to {x_max}, {y_max} has no area; expected x and y to grow. Correct it."
    return Mark(image, label, "box", problem=problem, **more)


def corners(cells: Sequence[float | None]) -> tuple[float | None, ...]:
    """x_min, y_min, x_max, y_max of a box that is published as x, y, width, height; blanks stay blank."""
    x, y, width, height = cells
    right = None if x is None or width is None else x + width
    return x, y, right, None if y is None or height is None else y + height


def by_film(marks: Iterable[Mark]) -> Iterator[tuple[str, list[Mark]]]:
    """Marks gathered film by film, films in the order of their first mark."""
    found: dict[str, list[Mark]] = defaultdict(list)
    for mark in marks:
        found[mark.image_id].append(mark)
    yield from found.items()


def pixels_of(mark: Mark, size: tuple[int, int]) -> np.ndarray:
    """The pixels a mark covers, bool ``(H, W)`` of ``size``: those whose centre lies in it.

    A mask of another size is brought to this one by its nearest pixels; boxes and polygons must be in it already
    (:func:`on_grid`).
    """
    height, width = size
    if mark.kind == "mask" and mark.mask is not None:
        drawn = mark.mask()
        return drawn if drawn.shape == size else _resized(drawn, size)
    if mark.kind == "polygon" and mark.points is not None:
        from skimage.draw import polygon2mask

        return polygon2mask(size, mark.points[:, ::-1] - 0.5)
    if mark.box is None:
        return np.zeros(size, dtype=bool)
    x_min, y_min, x_max, y_max = mark.box
    y, x = np.arange(height)[:, None] + 0.5, np.arange(width)[None] + 0.5
    if mark.kind == "ellipse":
        middle_x, middle_y = (x_min + x_max) / 2, (y_min + y_max) / 2
        radius_x, radius_y = max((x_max - x_min) / 2, 1e-9), max((y_max - y_min) / 2, 1e-9)
        return ((x - middle_x) / radius_x) ** 2 + ((y - middle_y) / radius_y) ** 2 <= 1
    return (x_min <= x) & (x < x_max) & (y_min <= y) & (y < y_max)


def on_grid(mark: Mark, size: tuple[int, int]) -> Mark:
    """The mark in the pixels of a grid of another size."""
    if mark.size is None or mark.size == size:
        return replace(mark, size=size)
    by_y, by_x = size[0] / mark.size[0], size[1] / mark.size[1]
    box = None if mark.box is None else tuple(np.multiply(mark.box, (by_x, by_y, by_x, by_y)).tolist())
    points = None if mark.points is None else mark.points * (by_x, by_y)
    return replace(mark, box=box, points=points, size=size)


def box_of(mask: np.ndarray) -> Box | None:
    """The box around a mask's pixels; None where it is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def agreed(marks: Iterable[Mark], size: tuple[int, int], least_raters: int = 1) -> np.ndarray:
    """Pixels that at least so many raters marked; marks without a rater count as one rater's."""
    each: dict[str | None, np.ndarray] = {}
    for mark in marks:
        drawn = pixels_of(mark, size)
        each[mark.rater] = each[mark.rater] | drawn if mark.rater in each else drawn
    if not each:
        return np.zeros(size, dtype=bool)
    return np.sum(list(each.values()), axis=0) >= least_raters


def read_mask_file(path: Path) -> np.ndarray:
    """A picture as mask: above half of white is inside, which a JPEG's blur leaves where it was."""
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image.convert("L")) > 127


def _resized(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    from PIL import Image

    height, width = size
    return np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))
