"""Spatial annotations: masks and boxes of findings, and their picture for a ControlNet, one colour a class.

ChexGen's way (Ji et al. 2025, Methods): annotations are formatted as an image. A mask is filled, larger ones first; a box is
an outline, so that the network can tell it from a mask. Geometric transformation is the augmentation that 'best practices'
(arXiv 2411.18602) found to help most.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from synthorax.errors import InputError, unknown_choice
from synthorax.phantom.truth import Box

RGB = tuple[int, int, int]
#: Three levels a channel, without black, which is 'nothing asked here'.
COLOURS: tuple[RGB, ...] = tuple((r, g, b) for r, g, b in product((0, 128, 255), repeat=3) if r or g or b)
WHITE: RGB = (255, 255, 255)
#: Width of a box's outline, as a share of the picture's side.
OUTLINE = 1 / 64
#: A transformation's largest turn (degrees), scale (natural log) and shift (share of the side).
TURN, SCALE, SHIFT = 10.0, 0.15, 0.05


@dataclass(frozen=True)
class Annotation:
    """What is asked where on one film.

    Attributes:
        masks: class -> bool ``(H, W)``.
        boxes: class and box in pixels, as often as wanted.
    """

    masks: Mapping[str, np.ndarray] = field(default_factory=dict)
    boxes: Sequence[tuple[str, Box]] = ()


def palette(classes: Sequence[str]) -> dict[str, RGB]:
    """A colour for each class, in order.

    Raises:
        InputError: more classes than colours.
    """
    if len(classes) > len(COLOURS):
        raise InputError(f"{len(classes)} classes are too many; an annotation has {len(COLOURS)} colours.")
    return dict(zip(classes, COLOURS, strict=False))


def draw(annotation: Annotation, colours: Mapping[str, RGB] | None, size: int) -> np.ndarray:
    """The annotation's picture.

    Args:
        annotation: masks of ``size`` pixels a side, boxes in pixels.
        colours: of each class; None paints everything white.
        size: side, pixels.

    Returns:
        uint8 ``(size, size, 3)``, black where nothing is asked.

    Raises:
        InputError: a class that has no colour.
    """
    picture = np.zeros((size, size, 3), np.uint8)
    for name in sorted(annotation.masks, key=lambda name: -int(annotation.masks[name].sum())):
        picture[annotation.masks[name]] = colour_of(name, colours)
    width = max(1, round(size * OUTLINE))
    for name, box in sorted(annotation.boxes, key=lambda entry: -entry[1].width * entry[1].height):
        inside = np.zeros((size, size), bool)
        inside[box.y : box.y + box.height, box.x : box.x + box.width] = True
        core = np.zeros_like(inside)
        core[box.y + width : box.y + box.height - width, box.x + width : box.x + box.width - width] = True
        picture[inside & ~core] = colour_of(name, colours)
    return picture


def colour_of(name: str, colours: Mapping[str, RGB] | None) -> RGB:
    if colours is None:
        return WHITE
    if name not in colours:
        raise unknown_choice("class", name, colours)
    red, green, blue = colours[name]  # a list where it was read from JSON
    return red, green, blue


def masks_of_picture(picture: np.ndarray, colours: Mapping[str, RGB], name: str) -> dict[str, np.ndarray]:
    """The masks that a picture paints.

    Args:
        picture: uint8 ``(H, W, 3)``.
        colours: of each class.
        name: of the file, for the message.

    Raises:
        InputError: a colour of no class (a picture saved with smooth edges has many).
    """
    found = {
        one: mask for one, colour in colours.items() if (mask := (picture == np.array(colour)).all(-1)).any()
    }
    known = np.any([~picture.any(-1), *found.values()], axis=0)
    if not known.all():
        y, x = np.argwhere(~known)[0]
        raise InputError(
            f"{name} has the colour {tuple(picture[y, x].tolist())} at column {x}, row {y}, which is no class's; the control "
            "folder's card.json lists the colours. Save the picture as PNG without smooth edges."
        )
    return found


def transformed(annotation: Annotation, rng: np.random.Generator, size: int) -> Annotation:
    """Turned, scaled and moved a little about the picture's middle, all parts alike; boxes are put round the turned ones.

    What would leave the picture altogether keeps its place.
    """
    from scipy import ndimage

    angle, scale = np.deg2rad(rng.uniform(-TURN, TURN)), np.exp(rng.uniform(-SCALE, SCALE))
    shift = rng.uniform(-SHIFT, SHIFT, 2) * size
    c, s = np.cos(angle) / scale, np.sin(angle) / scale
    matrix, middle = np.array([[c, -s], [s, c]]), np.full(2, (size - 1) / 2)

    def moved(mask: np.ndarray) -> np.ndarray:
        offset = middle - matrix @ (middle + shift)
        found = ndimage.affine_transform(mask.astype(np.uint8), matrix, offset, order=0) > 0
        return found if found.any() else mask

    def box(old: Box) -> Box:
        mask = np.zeros((size, size), bool)
        mask[old.y : old.y + old.height, old.x : old.x + old.width] = True
        rows, columns = (np.flatnonzero(moved(mask).any(axis)) for axis in (1, 0))
        x, y = int(columns[0]), int(rows[0])
        return Box(x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y)

    masks = {name: moved(mask) for name, mask in annotation.masks.items()}
    return Annotation(masks, [(name, box(old)) for name, old in annotation.boxes])
