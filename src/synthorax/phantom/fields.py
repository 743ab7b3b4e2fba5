"""Smooth steps, smooth random fields and fast wide blurs: what anatomy and findings are shaped with."""

import numpy as np
from scipy import ndimage


def smoothstep(low: float, high: float, x: np.ndarray | float) -> np.ndarray:
    """0 at ``low``, 1 at ``high`` (``low`` may be the larger one), cubic between, flat outside."""
    t = np.clip((np.asarray(x, dtype=np.float32) - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def upsample(image: np.ndarray, factor: int = 2) -> np.ndarray:
    """Bilinear enlargement of ``(H, W)`` by a whole factor, pixel areas kept in place."""
    for axis in (0, 1):
        n = image.shape[axis]
        position = np.clip((np.arange(n * factor) + 0.5) / factor - 0.5, 0, n - 1)
        image = _sample(image, position, axis)
    return image


def _sample(field: np.ndarray, position: np.ndarray, axis: int) -> np.ndarray:
    """Linear interpolation at fractional positions along one axis."""
    below = np.minimum(position.astype(int), field.shape[axis] - 2)
    weight = (position - below).astype(np.float32)
    weight = weight.reshape([-1 if a == axis else 1 for a in range(field.ndim)])
    low = np.take(field, below, axis)
    return low + weight * (np.take(field, below + 1, axis) - low)


def wide_blur(image: np.ndarray, sigma_px: float) -> np.ndarray:
    """Gaussian blur of ``(H, W)``; wide kernels run on an area-reduced copy."""
    step = max(1, int(sigma_px // 3))
    if step == 1:
        return ndimage.gaussian_filter(image, sigma_px, mode="nearest")
    height, width = image.shape
    rows, columns = -(-height // step), -(-width // step)
    padded = np.pad(image, ((0, rows * step - height), (0, columns * step - width)), mode="edge")
    small = padded.reshape(rows, step, columns, step).mean((1, 3))
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
