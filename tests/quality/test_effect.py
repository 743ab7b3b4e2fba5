"""The change in the mask against the true one: exact, half, none, opposite."""

import numpy as np
import pytest

from synthorax.quality.effect import effect, effect_of_edits


@pytest.fixture
def pair():
    draw = np.random.default_rng(0)
    source = 0.3 + 0.1 * draw.random((32, 32))
    mask = np.zeros((32, 32), bool)
    mask[8:20, 8:20] = True
    finding = np.where(mask, 0.2 + 0.1 * draw.random((32, 32)), 0)
    return source, finding, mask


@pytest.mark.parametrize(
    ("strength", "gain", "error", "correlation"),
    [
        pytest.param(1.0, 1.0, 0.0, 1.0, id="exact"),
        pytest.param(0.5, 0.5, 0.5, 1.0, id="half as dense"),
        pytest.param(0.0, 0.0, 1.0, None, id="nothing"),
        pytest.param(-0.5, -0.5, 1.5, -1.0, id="the other way"),
    ],
)
def test_known_strengths(pair, strength, gain, error, correlation):
    source, finding, mask = pair
    found = effect(source, source + strength * finding, source + finding, mask)
    assert (found.gain, found.error) == pytest.approx((gain, error), abs=1e-9)
    assert found.correlation == (None if correlation is None else pytest.approx(correlation))
    assert found.change == pytest.approx(strength * found.true_change)
    assert found.true_change == pytest.approx(255 * finding[mask].mean()) and found.n_pixels == mask.sum()


def test_a_sham_that_only_adds_noise_has_no_gain_and_an_error_above_one(pair):
    source, finding, mask = pair
    sham = source + 0.1 * np.random.default_rng(1).normal(size=source.shape)
    found = effect(source, sham.clip(0, 1), source + finding, mask)
    assert abs(found.gain) < 0.1 and found.error > 1 and abs(found.correlation) < 0.3


def test_an_invisible_truth_is_left_out(pair):
    source, _, mask = pair
    found = effect(source, source, source, mask)
    assert (found.gain, found.error, found.correlation, found.true_change) == (None, None, None, 0)
    assert effect(source, source, source, np.zeros_like(mask)).n_pixels == 0


def test_table(pair):
    source, finding, mask = pair
    frame = effect_of_edits(
        [("x", source, source + finding, source + finding, mask), ("y", *[source] * 3, None)]
    )
    assert frame["gain"].to_list() == pytest.approx([1.0, None]) and frame["n_pixels"].to_list() == [
        144,
        1024,
    ]
