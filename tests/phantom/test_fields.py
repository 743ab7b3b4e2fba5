"""Blurs and casts as matrix products, against the plain ways of computing them."""

import numpy as np
import pytest
from scipy import ndimage

from synthorax.phantom.fields import blur, upsample
from synthorax.phantom.projection import HALF, DepthBins

RNG = np.random.default_rng(3)


@pytest.mark.parametrize("mode", ["reflect", "nearest", "wrap"])
@pytest.mark.parametrize("sigma", [0.6, (5.0, 0, 3.0)], ids=["all axes", "one each"])
def test_blur_equals_scipys(mode, sigma):
    image = RNG.random((7, 70, 90), dtype=np.float32)
    expected = ndimage.gaussian_filter(image, sigma, mode=mode)
    np.testing.assert_allclose(blur(image, sigma, mode), expected, atol=1e-6)


def test_enlarging_keeps_a_ramp():
    ramp = np.add.outer(np.arange(8.0), 3 * np.arange(6.0)).astype(np.float32)
    at = (np.arange(16) + 0.5) / 2 - 0.5
    expected = np.add.outer(at.clip(0, 7), 3 * at[:12].clip(0, 5))
    np.testing.assert_allclose(upsample(ramp), expected, atol=1e-5)


@pytest.mark.parametrize("first_slab", [10, 11], ids=["even", "odd"])
def test_an_upright_cast_is_a_sum_over_depth(first_slab):
    field = RNG.random((9, 20, 30), dtype=np.float32)
    box = (slice(first_slab, first_slab + 9), slice(0, 20), slice(HALF - 30, HALF))
    cast = DepthBins.boxed(field, box).cast((0.0, 0.0))
    np.testing.assert_allclose(cast[:20, HALF - 30 :], field.sum(0), rtol=1e-5)
    assert cast.sum() == pytest.approx(field.sum(), rel=1e-5)
