"""Smooth steps, blurs, random fields and warps: what anatomy and findings are shaped with.

A blur, an enlargement and their products are one matrix an axis. :class:`AxisMap` keeps the band of that matrix as
small dense blocks, so that smoothing is a few matrix products: four to eight times as fast as a sliding kernel.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image
from scipy import ndimage

BLOCK = 32  # rows of a block of AxisMap


def smoothstep(low: float, high: float, x: np.ndarray | float) -> np.ndarray:
    """0 at ``low``, 1 at ``high`` (``low`` may be the larger one), cubic between, flat outside."""
    t = np.atleast_1d(np.asarray(x, dtype=np.float32) - np.float32(low)) * np.float32(1 / (high - low))
    np.clip(t, 0, 1, out=t)
    curve = -2 * t
    curve += 3
    curve *= t
    curve *= t
    return curve.reshape(np.shape(x))


def upsample(image: np.ndarray, factor: int = 2) -> np.ndarray:
    """Bilinear enlargement of ``(H, W)`` by a whole factor, pixel areas kept in place."""
    for axis, n in enumerate(image.shape):
        image = _enlargement(n, factor, n * factor)(image, axis)
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
class AxisMap:
    """A linear map along one axis, ``n`` cells to ``m``, as dense blocks of its band.

    Attributes:
        m: cells it gives.
        blocks: (rows, columns, ``(rows, columns)`` float32 weights) each; weights elsewhere are zero.
    """

    m: int
    blocks: tuple[tuple[slice, slice, np.ndarray], ...]

    @classmethod
    def of(cls, function: Callable[[np.ndarray], np.ndarray], n: int) -> "AxisMap":
        """What ``function`` does along axis 0 of ``(n, k)`` arrays; it must be linear."""
        matrix, blocks = function(np.eye(n)), []
        for first in range(0, len(matrix), BLOCK):
            rows = slice(first, min(first + BLOCK, len(matrix)))
            filled = np.flatnonzero(matrix[rows].any(0))
            columns = slice(int(filled[0]), int(filled[-1]) + 1)
            blocks.append((rows, columns, np.ascontiguousarray(matrix[rows, columns], dtype=np.float32)))
        return cls(len(matrix), tuple(blocks))

    def __call__(self, field: np.ndarray, axis: int) -> np.ndarray:
        """``field`` (float32, any axes) mapped along ``axis``."""
        shape = field.shape[:axis], field.shape[axis], field.shape[axis + 1 :]
        before, after = (int(np.prod(part)) for part in (shape[0], shape[2]))
        if after == 1:
            rows_of, out = field.reshape(before, shape[1]), np.empty((before, self.m), np.float32)
            for rows, columns, weights in self.blocks:
                np.matmul(rows_of[:, columns], weights.T, out=out[:, rows])
        else:
            planes, out = (
                field.reshape(before, shape[1], after),
                np.empty((before, self.m, after), np.float32),
            )
            for rows, columns, weights in self.blocks:
                np.matmul(weights, planes[:, columns], out=out[:, rows])
        return out.reshape(*shape[0], self.m, *shape[2])


def blur(image: np.ndarray, sigma_px: float | tuple[float, ...], mode: str = "reflect") -> np.ndarray:
    """Gaussian blur of any number of axes, equal to scipy's up to rounding.

    Args:
        image: made float32.
        sigma_px: for all axes or one for each; 0 leaves an axis as it is.
        mode: scipy's, what lies beyond the border.
    """
    sigmas = sigma_px if isinstance(sigma_px, tuple) else (sigma_px,) * image.ndim
    image = np.ascontiguousarray(image, dtype=np.float32)
    for axis, sigma in enumerate(sigmas):
        if sigma:
            image = _gaussian(image.shape[axis], sigma, mode)(image, axis)
    return image


@lru_cache(maxsize=128)
def _gaussian(n: int, sigma: float, mode: str) -> AxisMap:
    return AxisMap.of(lambda eye: ndimage.gaussian_filter1d(eye, sigma, axis=0, mode=mode), n)


@lru_cache(maxsize=32)
def _enlargement(n: int, factor: int, n_out: int) -> AxisMap:
    """Linear interpolation of ``n`` cells at the first ``n_out`` cells ``factor`` times as small."""
    position = np.clip((np.arange(n_out) + 0.5) / factor - 0.5, 0, n - 1)
    return AxisMap.of(lambda eye: _sample(eye, position, 0), n)


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
            _between(flat[start:].take(self.corner), flat[start + 1 :].take(self.corner), self.right)
            for start in (0, self.width)
        )
        return _between(upper, lower, self.down)


def _between(first: np.ndarray, second: np.ndarray, share: np.ndarray) -> np.ndarray:
    """``first`` moved by a share of the way to ``second``, whose memory it takes."""
    second -= first
    second *= share
    second += first
    return second


def wide_blur(image: np.ndarray, sigma_px: float) -> np.ndarray:
    """Gaussian blur of ``(H, W)``, the border repeated; wide kernels run on an area-reduced copy."""
    step = int(sigma_px // 3)
    if step < 2:
        return blur(image, sigma_px, "nearest")
    small = np.ascontiguousarray(image, dtype=np.float32)
    for axis, n in enumerate(image.shape):
        small = _reduction(n, step, sigma_px)(small, axis)
    for axis, n in enumerate(image.shape):
        small = _enlargement(small.shape[axis], step, n)(small, axis)
    return small


@lru_cache(maxsize=32)
def _reduction(n: int, step: int, sigma: float) -> AxisMap:
    """Means of ``step`` cells (the last of what is left), blurred."""
    starts = np.arange(0, n, step)

    def smooth(eye: np.ndarray) -> np.ndarray:
        means = np.add.reduceat(eye, starts, axis=0) / np.diff(starts, append=n)[:, None]
        return ndimage.gaussian_filter1d(means, sigma / step, axis=0, mode="nearest")

    return AxisMap.of(smooth, n)


def random_field(rng: np.random.Generator, shape: tuple[int, ...], sigma: tuple[float, ...]) -> np.ndarray:
    """Gaussian random field of zero mean and unit deviation.

    Args:
        rng: source of the white noise.
        shape: of the result, any number of axes.
        sigma: correlation length per axis, in cells; larger is smoother.
    """
    maps = [_from_noise(n, s) for n, s in zip(shape, sigma, strict=True)]
    field = rng.standard_normal([n for n, _ in maps], dtype=np.float32)
    for axis, (_, smooth) in enumerate(maps):
        field = smooth(field, axis)
    field -= field.mean()
    field /= field.std()
    return field


@lru_cache(maxsize=128)
def _from_noise(n: int, sigma: float) -> tuple[int, AxisMap]:
    """(cells of noise, map from them to ``n`` smooth cells): noise on a coarser axis, blurred and interpolated."""
    step = max(1, int(sigma // 2))
    n_coarse = -(-n // step) + 4
    position = np.arange(n) / step + 1

    def smooth(eye: np.ndarray) -> np.ndarray:
        return _sample(ndimage.gaussian_filter1d(eye, sigma / step, axis=0, mode="wrap"), position, 0)

    return n_coarse, AxisMap.of(smooth, n_coarse)
