"""Smooth steps, smooth random fields and fast wide blurs: what anatomy and findings are shaped with."""

from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage


def smoothstep(low: float, high: float, x: np.ndarray | float) -> np.ndarray:
    """0 at ``low``, 1 at ``high`` (``low`` may be the larger one), cubic between, flat outside."""
    t = np.atleast_1d(np.asarray(x, dtype=np.float32) - np.float32(low)) * np.float32(1 / (high - low))
    np.clip(t, 0, 1, out=t)
    curve = 3 - 2 * t
    curve *= t
    curve *= t
    return curve.reshape(np.shape(x))


def upsample(image: np.ndarray, factor: int = 2) -> np.ndarray:
    """Bilinear enlargement of ``(H, W)`` by a whole factor, pixel areas kept in place."""
    for axis in (0, 1):
        n = image.shape[axis]
        position = np.clip((np.arange(n * factor) + 0.5) / factor - 0.5, 0, n - 1)
        image = _sample(image, position, axis)
    return image


def shrink(image: np.ndarray, factor: int) -> np.ndarray:
    """Area averages of ``(H, W)`` over squares of ``factor`` pixels; those at the lower and right rim may be cut."""
    return np.asarray(Image.fromarray(image.astype(np.float32)).reduce(factor))


def _sample(field: np.ndarray, position: np.ndarray, axis: int) -> np.ndarray:
    """Linear interpolation at fractional positions along one axis."""
    below = np.minimum(position.astype(int), field.shape[axis] - 2)
    weight = (position - below).astype(np.float32)
    weight = weight.reshape([-1 if a == axis else 1 for a in range(field.ndim)])
    low = np.take(field, below, axis)
    return low + weight * (np.take(field, below + 1, axis) - low)


@dataclass(frozen=True)
class Warp:
    """A fixed bilinear resampling of ``(H, W)`` maps, many maps through the same displacement.

    Attributes:
        corner: ``(h, w)`` flat index of the upper left neighbour of each target pixel.
        down, right: ``(h, w)`` float32 weights towards the lower and the right neighbour.
        width: of the source.
    """

    corner: np.ndarray
    down: np.ndarray
    right: np.ndarray
    width: int

    @classmethod
    def to(cls, rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> "Warp":
        """Sample at fractional (rows, columns) of a source of ``shape``; outside, its border repeats."""
        rows, columns = np.clip(rows, 0, shape[0] - 1.001), np.clip(columns, 0, shape[1] - 1.001)
        top, left = rows.astype(np.int64), columns.astype(np.int64)
        return cls(
            top * shape[1] + left,
            (rows - top).astype(np.float32),
            (columns - left).astype(np.float32),
            shape[1],
        )

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """The warped map, float32."""
        flat = np.ascontiguousarray(image, dtype=np.float32).ravel()
        upper, lower = (
            flat[corner] + self.right * (flat[corner + 1] - flat[corner])
            for corner in (self.corner, self.corner + self.width)
        )
        return upper + self.down * (lower - upper)


def wide_blur(image: np.ndarray, sigma_px: float) -> np.ndarray:
    """Gaussian blur of ``(H, W)``; wide kernels run on an area-reduced copy."""
    step = max(1, int(sigma_px // 3))
    if step == 1:
        return ndimage.gaussian_filter(image, sigma_px, mode="nearest")
    height, width = image.shape
    small = shrink(image, step)
    small = ndimage.gaussian_filter(small, sigma_px / step, mode="nearest")
    return upsample(small, step)[:height, :width]


def random_field(rng: np.random.Generator, shape: tuple[int, ...], sigma: tuple[float, ...]) -> np.ndarray:
    """Gaussian random field of zero mean and unit deviation.

    Args:
        rng: source of the white noise.
        shape: of the result, any number of axes.
        sigma: correlation length per axis, in cells; larger is smoother.
    """
    steps = [max(1, int(s // 2)) for s in sigma]
    coarse = [-(-n // step) + 4 for n, step in zip(shape, steps, strict=True)]
    field = rng.standard_normal(coarse, dtype=np.float32)
    field = ndimage.gaussian_filter(field, [s / k for s, k in zip(sigma, steps, strict=True)], mode="wrap")
    for axis, (n, step) in enumerate(zip(shape, steps, strict=True)):
        field = _sample(field, np.arange(n) / step + 1, axis)
    return (field - field.mean()) / field.std()
