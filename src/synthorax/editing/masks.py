"""Masks: checked, widened, and brought from pixels to the cells of the latents.

A latent cell covers a square of pixels (8 x 8 in most autoencoders). The **edit mask** is max-pooled: a
cell may change if any of its pixels may. The **keep mask** is min-pooled: a cell is kept if all of its
pixels are, so that the margin stays free. A chest drain or a lead is thinner than a cell, and min-pooling
would lose it: such parts are max-pooled instead, and reported. Masks may overlap; keep wins (the last line
of RadEdit's Algorithm 3). What neither holds is the free band.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from synthorax.errors import InputError


class MaskWarning(UserWarning):
    """A mask that is used, but not quite as drawn."""


def checked(
    masks: Sequence[np.ndarray | None] | np.ndarray | None, name: str, shape: tuple[int, int, int]
) -> list[np.ndarray | None]:
    """One bool ``(H, W)`` mask or None a film.

    Args:
        masks: None, or one bool mask or None a film.
        name: what the caller calls them, for messages: ``edit_masks`` or ``keep_masks``.
        shape: ``(N, H, W)`` of the films.

    Raises:
        InputError: wrong number, size or type; an edit mask without a single pixel.
    """
    n_films, *size = shape
    if masks is None:
        return [None] * n_films
    if len(masks) != n_films:
        raise InputError(f"{name} has {len(masks)} masks for {n_films} films; expected one (or None) a film.")
    result: list[np.ndarray | None] = []
    for index, mask in enumerate(masks):
        if mask is not None:
            mask = np.asarray(mask)
            if mask.shape != tuple(size):
                raise InputError(
                    f"{name}[{index}] has shape {mask.shape}; expected {tuple(size)}, the film's. "
                    "Resize the mask (nearest neighbour) to its film."
                )
            if mask.dtype != np.bool_:
                raise InputError(
                    f"{name}[{index}] has dtype {mask.dtype}; expected bool. "
                    "Compare it with a threshold first, e.g. mask > 0."
                )
            if name == "edit_masks" and not mask.any():
                raise InputError(
                    f"{name}[{index}] is empty; expected at least one pixel to edit. "
                    "Draw the mask, or give None to edit the whole film."
                )
        result.append(mask)
    return result


def dilate(mask: np.ndarray, radius_px: float) -> np.ndarray:
    """The mask widened by a disk; RadEdit uses radius 5 where contours are tight (appendix C).

    Args:
        mask: bool ``(H, W)``.
        radius_px: 0 or more; raising it widens the mask.
    """
    from scipy.ndimage import distance_transform_edt

    if radius_px < 0:
        raise InputError(f"dilation_px is {radius_px}; expected 0 or more pixels.")
    if not mask.any():
        return mask.copy()
    return distance_transform_edt(~mask) <= radius_px


def _max_pool(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Cells with any pixel set; windows adapt where sizes do not divide."""
    pooled = functional.adaptive_max_pool2d(torch.from_numpy(mask)[None].float(), size)
    return pooled[0].numpy() > 0


def _to_pixels(cells: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Cells as pixels, nearest neighbour."""
    return functional.interpolate(torch.from_numpy(cells)[None, None].float(), size=size)[0, 0].numpy() > 0


def _with_neighbours(cells: np.ndarray) -> np.ndarray:
    """Cells and the eight around each."""
    return functional.max_pool2d(torch.from_numpy(cells)[None].float(), 3, stride=1, padding=1)[0].numpy() > 0


def edit_cells(mask: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, str | None]:
    """Latent cells where guidance acts, by max-pooling, and a sentence if the mask is thinner than a cell.

    Args:
        mask: bool ``(H, W)``.
        size: ``(h, w)`` of the latents.
    """
    cells = _max_pool(mask, size)
    if not mask.any() or not _max_pool(~mask, size).all():
        return cells, None
    return cells, (
        f"is nowhere as wide as a latent cell ({mask.shape[0] / size[0]:g} px): its {int(mask.sum())} px "
        f"become {int(cells.sum())} whole cells, {int(_to_pixels(cells, mask.shape).sum())} px, where the "
        "edit acts. Dilate the mask to choose the margin yourself."
    )


def keep_cells(mask: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, str | None]:
    """Latent cells where the source stays, by min-pooling, and a sentence about parts too thin for that.

    A part is thin if its pixels are in no filled cell and in no neighbour of one; its touching cells are
    kept, up to the nearest filled one.

    Args:
        mask: bool ``(H, W)``.
        size: ``(h, w)`` of the latents.
    """
    filled = ~_max_pool(~mask, size)
    thin = mask & ~_to_pixels(_with_neighbours(filled), mask.shape)
    if not thin.any():
        return filled, None
    cells = filled | (_with_neighbours(_max_pool(thin, size)) & _max_pool(mask, size))
    return cells, (
        f"has {int(thin.sum())} of {int(mask.sum())} px in parts thinner than a latent cell "
        f"({mask.shape[0] / size[0]:g} px): {int((cells & ~filled).sum())} whole cells keep them, so a "
        "margin around them is kept as well. Dilate the mask to choose the margin yourself."
    )
