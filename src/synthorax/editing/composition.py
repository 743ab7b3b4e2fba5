"""From film to model and back, so that what was not edited stays as sharp as it was.

An autoencoder blurs what it never meant to edit. So the film is not replaced by the decoded edit: the
*difference* between the decoded edit and the decoded source is added to it, at the film's own size, and not
inside the keep mask.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


def _margins(height: int, width: int) -> tuple[int, int, int, int]:
    """Padding (left, right, top, bottom) that makes a film square, the film in the middle."""
    side = max(height, width)
    left, top = (side - width) // 2, (side - height) // 2
    return left, side - width - left, top, side - height - top


def resize(images: Tensor, height: int, width: int) -> Tensor:
    """Bilinear, with antialiasing where it shrinks; ``(N, H, W)`` float32."""
    if images.shape[-2:] == (height, width):
        return images
    return functional.interpolate(images[:, None], (height, width), mode="bilinear", antialias=True)[:, 0]


def to_model(images: Tensor, size: int) -> Tensor:
    """Films ``(N, H, W)`` as the model's squares ``(N, size, size)``: padded with black, then resized."""
    return resize(functional.pad(images, _margins(*images.shape[-2:])), size, size)


def mask_to_model(mask: np.ndarray) -> np.ndarray:
    """A mask ``(H, W)`` padded as its film is, by its own margin; not resized."""
    left, right, top, bottom = _margins(*mask.shape)
    return np.pad(mask, ((top, bottom), (left, right)), mode="edge")


def from_model(images: Tensor, height: int, width: int) -> Tensor:
    """The model's squares back at the film's size: :func:`to_model` undone, up to what resizing loses."""
    left, _, top, _ = _margins(height, width)
    side = max(height, width)
    return resize(images, side, side)[:, top : top + height, left : left + width]


def change_weight(
    edit_mask: np.ndarray | None, keep_mask: np.ndarray | None, shape: tuple[int, int], feather_px: float
) -> np.ndarray:
    """How much of the change each pixel takes: 0 inside the keep mask, 1 inside the rest of the edit mask.

    Between them, in the free band, it rises with the distance from the keep mask: over ``feather_px``, or
        over
    the band where that is narrower. Where the masks touch there is no band, and the seam is a step.

    Args:
        edit_mask, keep_mask: bool ``(H, W)`` or None.
        shape: ``(H, W)``.
        feather_px: width of the seam; 0 = a step.
    """
    from scipy.ndimage import distance_transform_edt

    if keep_mask is None or not keep_mask.any():
        return np.ones(shape, dtype=np.float32)
    from_keep = distance_transform_edt(~keep_mask)
    edited = None if edit_mask is None else edit_mask & ~keep_mask
    to_edit = distance_transform_edt(~edited) if edited is not None and edited.any() else np.inf
    ramp = np.maximum(np.minimum(feather_px, from_keep + to_edit), 1e-6)
    return np.clip(from_keep / ramp, 0, 1).astype(np.float32)


def paste(source: Tensor, change: Tensor, weight: Tensor) -> Tensor:
    """The source plus the weighted change, within [0, 1]; where the weight is 0, the source bit for bit.

    Args:
        source: original films ``(N, H, W)`` float32 in [0, 1].
        change: decoded edit minus decoded source ``(N, H, W)``.
        weight: ``(N, H, W)`` in [0, 1], by :func:`change_weight`.
    """
    return torch.where(weight > 0, (source + weight * change).clamp(0, 1), source)
