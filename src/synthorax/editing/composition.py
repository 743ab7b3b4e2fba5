"""From film to model and back, so that what was not edited stays as sharp as it was.

An autoencoder blurs what it never meant to edit. So the film is not replaced by the decoded edit: the
*difference* between the decoded edit and the decoded source is added to it, at the film's own size and bit depth,
and not inside the keep mask.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from synthorax.errors import InputError

#: Integer types that films have.
INTEGERS = ("uint8", "uint16")


def checked_films(images: np.ndarray | Tensor, white: int | None) -> tuple[np.ndarray, int]:
    """Films as they are stored, and the grey level that is full density (1 for float32).

    Args:
        images: ``(N, H, W)`` float32 in [0, 1], or uint8 or uint16.
        white: of an integer film; None = the type's largest.

    Raises:
        InputError: another shape or type, or grey levels out of range.
    """
    films = images.detach().cpu().numpy() if isinstance(images, Tensor) else np.asarray(images)
    if films.ndim != 3:
        raise InputError(
            f"images has shape {films.shape}; expected (films, height, width). "
            "For one film take images[None]."
        )
    if films.dtype.name in INTEGERS:
        white = int(np.iinfo(films.dtype).max) if white is None else white
    elif not np.issubdtype(films.dtype, np.floating):
        raise InputError(f"images has dtype {films.dtype}; expected float32 in [0, 1], uint8 or uint16.")
    elif white not in (None, 1):
        raise InputError(f"white is {white} for float films; leave it out, or give the films as integers.")
    else:
        films, white = films.astype(np.float32, copy=False), 1
    for index, film in enumerate(films):
        low, high = film.min(), film.max()
        if not 0 <= low <= high <= white:  # NaN fails too
            remedy = "Scale it by its window." if white == 1 else "Set white to the films' full density."
            raise InputError(
                f"images[{index}] goes from {low:g} to {high:g}; expected [0, {white}]. {remedy}"
            )
    return films, white


def grey(films: np.ndarray, white: int) -> Tensor:
    """Films ``(N, H, W)`` as float32 in [0, 1]."""
    return torch.from_numpy(films.astype(np.float32) / np.float32(white))


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


def mask_from_model(cells: np.ndarray, size: int, height: int, width: int) -> np.ndarray:
    """A mask over the model's square, in cells, as bool ``(H, W)`` on the film: nearest neighbour."""
    square = torch.from_numpy(cells)[None, None].float()
    pixels = functional.interpolate(square, (size, size))[0]
    return from_model(pixels, height, width)[0].numpy() > 0.5


def change_weight(
    edit_mask: np.ndarray | None,
    keep_mask: np.ndarray | None,
    shape: tuple[int, int],
    feather_px: float,
    outside: str = "free",
) -> np.ndarray:
    """How much of the change each pixel takes: 0 inside the keep mask, 1 inside the rest of the edit mask.

    Between them, in the free band, it rises with the distance from the keep mask: over ``feather_px``, or over
    the band where that is narrower. Where the masks touch there is no band, and the seam is a step. With ``outside``
    = ``exact`` it also falls with the distance from the edit mask, to 0 at ``feather_px``.

    Args:
        edit_mask, keep_mask: bool ``(H, W)`` or None.
        shape: ``(H, W)``.
        feather_px: width of the seam; 0 = a step.
        outside: ``free`` or ``exact``.
    """
    from scipy.ndimage import distance_transform_edt

    edited = None if edit_mask is None else edit_mask if keep_mask is None else edit_mask & ~keep_mask
    to_edit = distance_transform_edt(~edited) if edited is not None and edited.any() else np.inf
    weight = np.ones(shape)
    if keep_mask is not None and keep_mask.any():
        from_keep = distance_transform_edt(~keep_mask)
        ramp = np.maximum(np.minimum(feather_px, from_keep + to_edit), 1e-6)
        weight = np.clip(from_keep / ramp, 0, 1)
    if outside == "exact" and edit_mask is not None:
        weight = np.minimum(weight, np.clip(1 - to_edit / max(feather_px, 1e-6), 0, 1))
    return weight.astype(np.float32)


def paste(source: np.ndarray, change: np.ndarray, weight: np.ndarray, white: int) -> np.ndarray:
    """The source plus the weighted change, within [0, white]; where the weight is 0, the source bit for bit.

    Args:
        source: original film ``(H, W)``, float32, uint8 or uint16.
        change: decoded edit minus decoded source ``(H, W)`` float32, as a fraction of ``white``.
        weight: ``(H, W)`` in [0, 1], by :func:`change_weight`.
        white: grey level of full density.

    Returns:
        ``(H, W)`` of the source's type.
    """
    edited = source.astype(np.float32) + weight * change * np.float32(white)
    if source.dtype.name in INTEGERS:
        edited = np.rint(edited)
    return np.where(weight > 0, edited.clip(0, white).astype(source.dtype), source)
