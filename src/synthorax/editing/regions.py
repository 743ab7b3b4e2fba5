"""Masks from finding and side, where nobody has drawn any: the edit may act where the finding can be.

The regions are boxes on the film (``regions.yaml``), not on the patient: no organ is looked for, so they fit frontal
films on which the chest fills the film, and are wide.
"""

from collections.abc import Collection, Mapping
from functools import cache
from importlib.resources import files

import numpy as np

from synthorax.errors import unknown_choice

#: Thirds of a region, from the top.
ZONES = ("upper", "middle", "lower")
#: Width of the free band around the edit mask, as a fraction of the film.
BAND = 0.05


@cache
def regions() -> Mapping[str, Mapping[str, tuple[float, float, float, float]]]:
    """Finding -> side -> ``(top, bottom, left, right)`` as fractions of the film."""
    import yaml

    return yaml.safe_load((files("synthorax.editing") / "regions.yaml").read_text())


def region(
    finding: str, side: str | None = None, zone: str | None = None, shape: tuple[int, int] = (512, 512)
) -> np.ndarray:
    """Where a finding can be, bool ``(H, W)``.

    Args:
        finding: a concept of ``regions.yaml``, e.g. ``effusion``.
        side: ``left``, ``right``, ``bilateral``, or None where nobody said: both sides then.
        zone: ``upper``, ``middle`` or ``lower`` third of it, e.g. for a lower lobe; None = all.
        shape: ``(H, W)`` of the film.

    Raises:
        InputError: a finding, side or zone that does not exist.
    """
    known = regions()
    if finding not in known:
        raise unknown_choice("finding", finding, known)
    if side not in (None, "left", "right", "bilateral"):
        raise unknown_choice("side", str(side), ["left", "right", "bilateral"])
    if zone is not None and zone not in ZONES:
        raise unknown_choice("zone", zone, ZONES)
    boxes = known[finding]
    mask = np.zeros(shape, dtype=bool)
    for top, bottom, left, right in [boxes[side]] if side is not None and side in boxes else boxes.values():
        if zone is not None:
            third, number = (bottom - top) / len(ZONES), ZONES.index(zone)
            top, bottom = top + number * third, top + (number + 1) * third
        rows, columns = (slice(*np.rint(np.multiply(ends, n)).astype(int)) for ends, n in (((top, bottom), shape[0]), ((left, right), shape[1])))  # fmt: skip
        mask[rows, columns] = True
    return mask


def finding_masks(
    changed: Collection[str], sides: Mapping[str, str], shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Edit and keep mask of an edit, bool ``(H, W)`` each: where the changed findings can be, and all that no edit of
    them can touch, with a free band between.

    Args:
        changed: findings that come or go.
        sides: finding -> side, where known.
        shape: ``(H, W)`` of the film.

    Raises:
        InputError: a finding without a region.
    """
    from synthorax.editing.masks import dilate

    edit = np.any([region(finding, sides.get(finding), shape=shape) for finding in changed], axis=0)
    return edit, ~dilate(edit, BAND * max(shape))
