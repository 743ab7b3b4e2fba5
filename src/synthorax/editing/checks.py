"""Automatic checks of an edit against its source: what no finding may change, and whether the mask shows."""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_dilation, binary_erosion

from synthorax.errors import InputError

#: Grey levels that figures are given in.
GREY_LEVELS = 255


@dataclass(frozen=True)
class Checks:
    """One edit against its source. None where nobody said where markers or devices are, or there is no border.

    Attributes:
        marker_difference: largest difference inside the marker's region, in grey levels of 255.
        device_difference: the same inside the devices'.
        contrast_change: standard deviation outside the edit mask, edited over source, minus 1.
        seam_gradient: mean gradient of the *change* across the mask's border, in grey levels a pixel: a change that
            stops at the border stands out there, one that fades out does not.
    """

    marker_difference: float | None
    device_difference: float | None
    contrast_change: float
    seam_gradient: float | None

    def problems(self, limits: "Limits | None" = None) -> list[str]:
        """What is beyond its limit, a sentence each; empty = the edit passes."""
        limits = limits or Limits()
        found = {
            "the marker changed by {:.3g} grey levels": (self.marker_difference, limits.marker_difference),
            "a device changed by {:.3g} grey levels": (self.device_difference, limits.device_difference),
            "contrast outside the edit mask changed by the factor {:+.3g}": (self.contrast_change, limits.contrast_change),
            "the mask's border shows: the change falls by {:.3g} grey levels a pixel there": (self.seam_gradient, limits.seam_gradient),
        }  # fmt: skip
        return [
            f"{said.format(value)}; at most {limit:g} is allowed."
            for said, (value, limit) in found.items()
            if value is not None and abs(value) > limit
        ]


@dataclass(frozen=True)
class Limits:
    """The largest figures of :class:`Checks` that pass. True counterfactuals of 48 edits: contrast within
    0.012, seam at most 0.52."""

    marker_difference: float = 0.5
    device_difference: float = 0.5
    contrast_change: float = 0.05
    seam_gradient: float = 2.0


def check(
    source: np.ndarray,
    edited: np.ndarray,
    edit_mask: np.ndarray | None = None,
    keep_mask: np.ndarray | None = None,
    *,
    marker_mask: np.ndarray | None = None,
    device_mask: np.ndarray | None = None,
) -> Checks:
    """The automatic checks of one edit.

    Args:
        source, edited: ``(H, W)`` float32 in [0, 1].
        edit_mask, keep_mask: bool ``(H, W)`` or None, as given to :func:`synthorax.editing.edit`. The border is the keep
            mask's, and without one the edit mask's.
        marker_mask, device_mask: bool ``(H, W)``, what must stay whatever the finding.

    Raises:
        InputError: shapes that differ.
    """
    given = {"edited": edited, "edit_mask": edit_mask, "keep_mask": keep_mask, "marker_mask": marker_mask, "device_mask": device_mask}  # fmt: skip
    for name, array in given.items():
        if array is not None and array.shape != source.shape:
            raise InputError(f"{name} has shape {array.shape}; expected {source.shape}, the source's.")
    change = (edited.astype(np.float64) - source) * GREY_LEVELS
    outside = np.ones(source.shape, dtype=bool) if edit_mask is None else ~edit_mask
    before = source[outside].std() if outside.any() else 0.0
    border = _border(edit_mask if keep_mask is None else keep_mask)
    return Checks(
        marker_difference=_largest(change, marker_mask),
        device_difference=_largest(change, device_mask),
        contrast_change=float(edited[outside].std() / before - 1) if before > 0 else 0.0,
        seam_gradient=float(np.hypot(*np.gradient(change))[border].mean()) if border.any() else None,
    )


def _largest(change: np.ndarray, mask: np.ndarray | None) -> float | None:
    return float(np.abs(change[mask]).max()) if mask is not None and mask.any() else None


def _border(mask: np.ndarray | None) -> np.ndarray:
    """The pixels on both sides of a mask's border; the film's own edge is none."""
    if mask is None:
        return np.zeros(1, dtype=bool)
    return binary_dilation(mask) & ~binary_erosion(mask, border_value=1)
