"""Did the model keep films that it was trained on? Each sample's nearest training film, by feature and by pixel.

A distance alone says nothing: chests are alike. So the baseline is how near *held-out* real films lie to the training films;
a sample nearer than the baseline's first percentile is listed with its neighbour, to be looked at. Of the held-out films
themselves one in a hundred lies below it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from synthorax.errors import InputError

PERCENTILE = 1.0
#: Side at which films are compared pixel by pixel: anatomy and framing, no noise.
PIXEL_SIDE = 64
_ROWS_AT_ONCE = 256


@dataclass(frozen=True)
class Nearest:
    """Of each sample the nearest training film (row) and its distance; ``limit`` is the baseline's first percentile."""

    index: np.ndarray
    distance: np.ndarray
    limit: float

    @property
    def is_near(self) -> np.ndarray:
        """``(N,)`` bool: nearer than the limit."""
        return self.distance < self.limit


def nearest_by_feature(samples: np.ndarray, training: np.ndarray, held_out: np.ndarray) -> Nearest:
    """By cosine distance ``1 - cos`` of features ``(N, F)``, ``(M, F)``, ``(K, F)``."""
    return _nearest(*(_unit(np.asarray(x, np.float64)) for x in (samples, training, held_out)))


def nearest_by_pixel(samples: np.ndarray, training: np.ndarray, held_out: np.ndarray) -> Nearest:
    """By ``1 - r`` of the pixels (r = Pearson's), which exposure and contrast do not change.

    Args:
        samples, training, held_out: ``(N, S, S)`` films, small (:data:`PIXEL_SIDE`).
    """
    flat = (np.asarray(x, np.float64).reshape(len(x), -1) for x in (samples, training, held_out))
    return _nearest(*(_unit(x - x.mean(1, keepdims=True)) for x in flat))


def _nearest(samples: np.ndarray, training: np.ndarray, held_out: np.ndarray) -> Nearest:
    if not min(len(samples), len(training), len(held_out)):
        raise InputError(
            f"{len(samples)} samples, {len(training)} training films and {len(held_out)} held-out films; expected some of "
            "each."
        )
    index, distance = _closest(samples, training)
    return Nearest(index, distance, float(np.percentile(_closest(held_out, training)[1], PERCENTILE)))


def _closest(rows: np.ndarray, training: np.ndarray) -> Sequence[np.ndarray]:
    found = []
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        alike = rows[start : start + _ROWS_AT_ONCE] @ training.T
        best = alike.argmax(1)
        found.append((best, 1 - alike[np.arange(len(best)), best]))
    return [np.concatenate(part) for part in zip(*found, strict=True)]


def _unit(x: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return np.divide(x, length, out=np.zeros_like(x), where=length > 0)
