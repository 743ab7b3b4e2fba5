"""Small random changes of films in training: rotation, shift, zoom, contrast and brightness.

Drawing is kept apart from applying: the draws of an epoch belong to the films, whatever the batches. There
is no horizontal flip, because it turns left findings into right ones and the heart to the other side.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

N_DRAWS = 6


@dataclass(frozen=True)
class Augmentation:
    """Largest change to each side; 0 switches one off."""

    rotation_degrees: float = 5.0
    shift_fraction: float = 0.04
    zoom_fraction: float = 0.05
    contrast_fraction: float = 0.15
    brightness_fraction: float = 0.1


def augment(films: "torch.Tensor", draws: np.ndarray, amounts: Augmentation) -> "torch.Tensor":
    """Apply the draws.

    Args:
        films: ``(B, 1, S, S)`` in [0, 1].
        draws: ``(B, 6)`` in [-1, 1]: rotation, shift across, shift down, zoom, contrast, brightness.
        amounts: what a draw of 1 means.

    Returns:
        ``(B, 1, S, S)`` in [0, 1]; what moves in from outside repeats the film's edge.
    """
    import torch
    from torch.nn import functional

    rotation, across, down, zoom, contrast, brightness = torch.as_tensor(draws, dtype=films.dtype).T.to(
        films.device
    )
    angle = torch.deg2rad(rotation * amounts.rotation_degrees)
    scale = 1 + zoom * amounts.zoom_fraction
    cosine, sine = torch.cos(angle) / scale, torch.sin(angle) / scale
    shift = 2 * amounts.shift_fraction
    rows = [torch.stack([cosine, -sine, across * shift], 1), torch.stack([sine, cosine, down * shift], 1)]
    grid = functional.affine_grid(torch.stack(rows, 1), list(films.shape), align_corners=False)
    films = functional.grid_sample(films, grid, padding_mode="border", align_corners=False)
    gain = (1 + contrast * amounts.contrast_fraction)[:, None, None, None]
    offset = (brightness * amounts.brightness_fraction)[:, None, None, None]
    return ((films - 0.5) * gain + 0.5 + offset).clamp(0, 1)
