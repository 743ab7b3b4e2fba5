"""From line integrals to a displayed film: scatter, noise, equalisation, window.

Notation: L line integral, P = exp(-L) transmission, S scatter, s = -ln(P + S) signal (dense = large).

The window and the equalisation's level are taken from the healthy film and frozen, so that films of one
patient differ only by their findings. *Physical* films still let a finding change the scatter and the
equalisation round it. *Strict* films freeze those too: where a finding adds nothing, no pixel changes.
"""

from dataclasses import dataclass

import numpy as np

from synthorax.phantom.anatomy import Anatomy
from synthorax.phantom.fields import blur, smoothstep, wide_blur

BLUR_PX = 0.4
BANDS_PX = (1.6, 6.0, 48.0)


@dataclass(frozen=True)
class HealthyFilm:
    """What a patient's films share.

    Attributes:
        transmission, scatter: ``(512, 512)`` P and S of the healthy chest.
        grain: ``(512, 512)`` unit noise.
        signal, processed, smooth: s, its equalised form, and that without most of the noise.
        level: the equalisation's pivot.
        black, white: window in processed signal.
        shade: ``(512, 512)``, 1 in the body; less where nothing but air was in the beam and the machine darkens.
    """

    transmission: np.ndarray
    scatter: np.ndarray
    grain: np.ndarray
    signal: np.ndarray
    processed: np.ndarray
    smooth: np.ndarray
    level: float
    black: float
    white: float
    shade: np.ndarray


def healthy_film(
    line_integral: np.ndarray, lung: np.ndarray, anatomy: Anatomy, grain: np.ndarray
) -> HealthyFilm:
    """Render the healthy chest once and fix what its pairs share.

    Args:
        line_integral: ``(512, 512)``.
        lung: ``(512, 512)`` bool; the window's black comes from it.
        anatomy: film parameters.
        grain: ``(512, 512)`` unit noise.
    """
    transmission = _transmission(line_integral)
    scatter = _scatter(transmission, anatomy)
    signal = _signal(transmission, scatter, grain, anatomy)
    level = float(np.median(wide_blur(signal, BANDS_PX[2])[::4, ::4]))
    processed = _equalise(signal, level, anatomy)
    dark = np.percentile(processed[lung], 2)
    white = np.percentile(processed[40:470, 60:450], anatomy.white_percentile)
    black = dark - anatomy.black_offset * (white - dark) + 0.2 * anatomy.exposure
    white = white + 0.1 * anatomy.exposure
    smooth = blur(processed, 1.0)
    shade = 1 - anatomy.background * smoothstep(0.9, 0.2, blur(line_integral, 2.0))
    return HealthyFilm(
        transmission, scatter, grain, signal, processed, smooth, level, float(black), float(white), shade
    )


def physical(healthy: HealthyFilm, line_integral: np.ndarray, anatomy: Anatomy) -> np.ndarray:
    """``(512, 512)`` in [0, 1]: scatter and equalisation answer to the whole film."""
    transmission = _transmission(line_integral)
    signal = _signal(transmission, _scatter(transmission, anatomy), healthy.grain, anatomy)
    return display(healthy, _equalise(signal, healthy.level, anatomy), anatomy) * healthy.shade


def strict(healthy: HealthyFilm, delta: np.ndarray, anatomy: Anatomy) -> np.ndarray:
    """``(512, 512)`` in [0, 1]: only pixels with a nonzero ``delta`` differ from the healthy film."""
    transmission = healthy.transmission * np.exp(-delta)
    signal = _signal(transmission, healthy.scatter, healthy.grain, anatomy)
    return display(healthy, healthy.processed + (signal - healthy.signal), anatomy) * healthy.shade


def grey_change(healthy: HealthyFilm, delta: np.ndarray, anatomy: Anatomy) -> np.ndarray:
    """``(512, 512)`` change of displayed grey (0-1) that a finding alone makes; about nil behind dense organs."""
    change, changed = np.zeros(delta.shape, np.float32), delta != 0
    transmission, smooth = healthy.transmission[changed], healthy.smooth[changed]
    intensity = transmission + healthy.scatter[changed]
    denser = -np.log1p(transmission * np.expm1(-delta[changed]) / intensity)
    change[changed] = display(healthy, smooth + denser, anatomy) - display(healthy, smooth, anatomy)
    return change


def display(healthy: HealthyFilm, processed: np.ndarray, anatomy: Anatomy) -> np.ndarray:
    """Window, then a sigmoid characteristic curve and gamma."""
    slope = anatomy.contrast
    t = (processed - healthy.black) / (healthy.white - healthy.black)
    foot = 1 / (1 + np.exp(2 * slope))
    curve = (1 / (1 + np.exp(-4 * slope * (t - 0.5))) - foot) / (1 - 2 * foot)
    return (anatomy.white * np.clip(curve, 0, 1) ** anatomy.gamma).astype(np.float32)


def film_grain(rng: np.random.Generator, shape: tuple[int, int], blur_px: float = 0.0) -> np.ndarray:
    """Noise of unit deviation, blurred by detector and downsampling; unblurred, 40 % of it is correlated."""
    white = rng.standard_normal(shape, dtype=np.float32)
    if blur_px:
        grain = blur(white, blur_px)
        return grain / grain.std()
    return 0.6 * white + 0.8 * blur(white, 0.8)


def _transmission(line_integral: np.ndarray) -> np.ndarray:
    return blur(np.exp(-line_integral), BLUR_PX)


def _scatter(transmission: np.ndarray, anatomy: Anatomy) -> np.ndarray:
    return anatomy.scatter * (0.55 * wide_blur(transmission, 45) + 0.45 * wide_blur(transmission, 18))


def _signal(transmission: np.ndarray, scatter: np.ndarray, grain: np.ndarray, anatomy: Anatomy) -> np.ndarray:
    """s with quantum noise: deviation sqrt(I / photons)."""
    intensity = transmission + scatter
    noisy = np.maximum(intensity + np.sqrt(intensity / np.float32(anatomy.photons)) * grain, 1e-5)
    return np.clip(-np.log(noisy), 0.15, None)


def _equalise(signal: np.ndarray, level: float, anatomy: Anatomy) -> np.ndarray:
    """Vendor-like multi-scale processing: compress the widest band, lift detail, less so in dense areas."""
    fine, middle, wide = (wide_blur(signal, sigma) for sigma in BANDS_PX)
    in_dense = 1 - 0.75 * smoothstep(0.25, 1.25, middle - level)
    keep, detail = 1 - anatomy.equalisation, anatomy.detail * in_dense
    return (
        level
        + keep * (wide - level)
        + (1 - 0.5 * anatomy.equalisation) * (middle - wide)
        + (1 + detail) * (fine - middle)
        + (1 + 0.7 * detail) * (signal - fine)
    )
