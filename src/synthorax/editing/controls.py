"""Controls: what an edit must beat before its validity means anything.

*Sham* runs the whole pipeline with the source's own findings as the target: same guidance, steps, masks and seeds, nothing
asked for. *Blur* changes the edit mask by as much as the edit did, with no finding in it: a Gaussian blur that fools some
judges.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from synthorax.editing.engine import edit
from synthorax.errors import InputError

#: Widest blur that is tried, as a fraction of the film's longer side: beyond it a film is its own mean.
WIDEST = 0.25


def sham(images: np.ndarray, inversion_prompts: Sequence[str], **settings: Any) -> np.ndarray:
    """The films through the editor with nothing asked for, as :func:`synthorax.editing.edit` returns them.

    Args:
        images: films ``(N, H, W)``.
        inversion_prompts: what each source shows; it is the target, too.
        settings: the edit's own: ``model``, ``seeds``, masks, ``guidance_scale``, ``preset``, ...
    """
    return edit(images, inversion_prompts, inversion_prompts=inversion_prompts, **settings)


def blur(film: np.ndarray, edited: np.ndarray, edit_mask: np.ndarray | None = None) -> np.ndarray:
    """The film, blurred inside the edit mask until it has changed as much as the edit changed it.

    Much as = the same mean absolute change inside the mask, within 1 %; less, where no blur changes the film so much.

    Args:
        film: source ``(H, W)`` float32 in [0, 1].
        edited: its edit, the same shape.
        edit_mask: bool ``(H, W)``; None = the whole film.

    Returns:
        float32 ``(H, W)``; outside the mask the film, bit for bit.

    Raises:
        InputError: shapes that differ, or an empty mask.
    """
    mask = np.ones(film.shape, dtype=bool) if edit_mask is None else edit_mask
    if not film.shape == edited.shape == mask.shape:
        raise InputError(f"film {film.shape}, edit {edited.shape} and mask {mask.shape} differ in shape.")
    if not mask.any():
        raise InputError("the edit mask is empty; expected at least one pixel to blur.")
    wanted = np.abs(edited - film)[mask].mean()

    def blurred(sigma_px: float) -> np.ndarray:
        return np.where(mask, gaussian_filter(film, sigma_px), film).astype(np.float32)

    low, high = 0.0, WIDEST * max(film.shape)
    for _ in range(30):
        sigma_px = (low + high) / 2
        found = blurred(sigma_px)
        change = np.abs(found - film)[mask].mean()
        if abs(change - wanted) <= 0.01 * wanted:
            break
        low, high = (sigma_px, high) if change < wanted else (low, sigma_px)
    return found
