"""Run lengths of a mask, as three publishers write them; ``encode`` and ``decode`` undo each other.

``relative`` (SIIM-ACR, CANDID-PTX): pairs 'gap length', the gap counted from the end of the run before (the first
from pixel 0), down the columns; ``-1`` is an empty mask (SIIM-ACR Pneumothorax Segmentation, data page).
``absolute`` (CheXmask): pairs 'start length', starts counted from 1, along the rows (CheXmask Database, its
``DataPostprocessing/utils.py``).
``coco``: lengths of runs outside and inside by turns, beginning outside, down the columns (COCO data format).
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from synthorax.errors import InputError, unknown_choice

#: Form -> the order in which it walks over the pixels (C: along the rows).
FORMS: dict[str, Literal["C", "F"]] = {"relative": "F", "absolute": "C", "coco": "F"}


def encode(mask: np.ndarray, form: str) -> str:
    """A bool mask ``(H, W)`` as numbers between blanks.

    Raises:
        InputError: no such form.
    """
    _check(form)
    flat = np.concatenate([[False], mask.astype(bool).flatten(order=FORMS[form]), [False]])
    starts, ends = np.flatnonzero(flat[1:] & ~flat[:-1]), np.flatnonzero(~flat[1:] & flat[:-1])
    before = np.concatenate([[0], ends[:-1]]) if len(ends) else ends
    if form == "coco":
        rest = mask.size - (ends[-1] if len(ends) else 0)
        numbers = np.concatenate([np.stack([starts - before, ends - starts], axis=1).ravel(), [rest]])
        return " ".join(map(str, numbers[:-1] if rest == 0 else numbers))
    if not len(starts):
        return "-1" if form == "relative" else ""
    first = starts - before if form == "relative" else starts + 1
    return " ".join(map(str, np.stack([first, ends - starts], axis=1).ravel()))


def decode(text: str | Sequence[int], height: int, width: int, form: str) -> np.ndarray:
    """The bool mask ``(height, width)`` of run lengths; blank or -1 is empty.

    Raises:
        InputError: no such form, a word that is no number, a number left over, or a run outside the mask.
    """
    _check(form)
    words = text.split() if isinstance(text, str) else text
    try:
        numbers = np.array([int(word) for word in words], dtype=np.int64)
    except ValueError:
        odd = next(word for word in words if not str(word).lstrip("-").isdigit())
        raise InputError(f"run lengths hold {odd!r}; expected whole numbers between blanks.") from None
    flat = np.zeros(height * width, dtype=bool)
    if not len(numbers) or numbers.tolist() == [-1]:
        return flat.reshape(height, width)
    if form == "coco":
        ends = np.cumsum(numbers)
        starts, ends = ends[0::2], ends[1::2]
        starts = starts[: len(ends)]
    else:
        if len(numbers) % 2:
            raise InputError(
                f"run lengths hold {len(numbers)} numbers; expected pairs. Copy the table again."
            )
        first, lengths = numbers[0::2], numbers[1::2]
        starts = np.cumsum(first) + np.cumsum(lengths) - lengths if form == "relative" else first - 1
        ends = starts + lengths
    if numbers.min() < 0 or (len(starts) and (starts.min() < 0 or ends.max() > flat.size)):
        reach = int(ends.max()) if len(ends) else 0
        raise InputError(
            f"a run ends at pixel {reach} of a mask of {height} x {width}; expected it inside. Check the size, or copy the table again."
        )
    turns = np.zeros(flat.size + 1, dtype=np.int32)
    np.add.at(turns, starts, 1)
    np.add.at(turns, ends, -1)
    flat = np.cumsum(turns[:-1]) > 0
    return flat.reshape((height, width), order=FORMS[form])


def _check(form: str) -> None:
    if form not in FORMS:
        raise unknown_choice("form", form, FORMS)
