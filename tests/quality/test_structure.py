"""SSIM and grey levels: identity, closed form, inside and outside."""

import numpy as np
import pytest

from synthorax.errors import InputError
from synthorax.quality.structure import RADIUS_PX, pairwise_ssim, ssim_map, structure, structure_of_edits


@pytest.fixture
def film():
    draw = np.random.default_rng(0)
    return (0.5 + 0.2 * np.sin(np.arange(64) / 5)[None] + 0.05 * draw.normal(size=(64, 64))).clip(0, 1)


def test_a_film_is_like_itself(film):
    found = structure(film, film, film > 0.6)
    assert (found.ssim, found.ssim_inside, found.ssim_outside, found.grey_difference) == (1, 1, 1, 0)


def test_constant_films_have_a_closed_form():
    """Without variance SSIM is luminance alone: (2ab + C1) / (a^2 + b^2 + C1), C1 = .01^2."""
    a, b, c1 = 0.3, 0.5, 1e-4
    found = ssim_map(np.full((20, 24), a), np.full((20, 24), b))
    assert found.shape == (10, 14)
    assert found == pytest.approx((2 * a * b + c1) / (a * a + b * b + c1), abs=1e-9)


def test_ssim_of_one_window_by_hand(film):
    """The map's pixel against the formula over its Gaussian window."""
    other = np.clip(film + 0.1 * np.random.default_rng(1).normal(size=film.shape), 0, 1)
    reach = np.arange(-RADIUS_PX, RADIUS_PX + 1)
    window = np.exp(-(reach**2) / (2 * 1.5**2))
    window = np.outer(window, window) / window.sum() ** 2
    x, y = film[20:31, 30:41], other[20:31, 30:41]
    mx, my = (window * x).sum(), (window * y).sum()
    vx, vy = (window * x * x).sum() - mx**2, (window * y * y).sum() - my**2
    cov = (window * x * y).sum() - mx * my
    expected = (2 * mx * my + 1e-4) * (2 * cov + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4))
    assert ssim_map(film, other)[20, 30] == pytest.approx(expected, abs=1e-6)


def test_exact_pixels_outside_the_mask_score_exactly_one_outside(film):
    mask = np.zeros(film.shape, bool)
    mask[20:40, 20:40] = True
    edited = film.copy()
    edited[mask] = np.clip(edited[mask] + 10 / 255, 0, 1)
    found = structure(film, edited, mask)
    assert found.ssim_outside == 1 and found.grey_difference_outside == 0
    assert found.ssim_inside < 1 and found.grey_difference_inside == pytest.approx(10, abs=0.3)
    assert found.ssim_inside < found.ssim < 1
    assert found.mask_fraction == pytest.approx(400 / 4096)


@pytest.mark.parametrize("full", [False, True])
def test_a_mask_of_nothing_or_everything_has_no_other_side(film, full):
    found = structure(film, film, np.full(film.shape, full))
    assert (found.ssim_inside is None) == (not full) and (found.ssim_outside is None) == full
    assert (found.grey_difference_outside is None) == full


def test_table_keeps_the_order(film):
    edits = [("b", film, film, None), ("a", film, 1 - film, film > 0.5)]
    frame = structure_of_edits(iter(edits))
    assert frame["edit_id"].to_list() == ["b", "a"] and frame["ssim"][0] == 1 > frame["ssim"][1]
    assert frame["ssim_inside"].null_count() == 1
    assert structure_of_edits([]).columns == frame.columns


def test_diversity_falls_with_difference(film):
    noise = np.random.default_rng(2).random((3, 64, 64))
    assert pairwise_ssim(np.stack([film, film])) == 1 > pairwise_ssim(noise)


@pytest.mark.parametrize(
    ("source", "edited", "mask", "message"),
    [
        (np.zeros((16, 16)), np.zeros((16, 18)), None, r"edited has shape \(16, 18\) beside \(16, 16\)"),
        (np.zeros((16, 16)), np.full((16, 16), 200), None, "values from 200 to 200; expected 0 to 1. Divide"),
        (np.zeros((16, 16)), np.zeros((16, 16)), np.zeros((16, 16)), "the mask is float64 of shape"),
        (np.zeros((8, 16)), np.zeros((8, 16)), None, "SSIM's window needs 11 px"),
        (np.full((16, 16), np.nan), np.zeros((16, 16)), None, "source has values from nan to nan"),
    ],
)
def test_messages(source, edited, mask, message):
    with pytest.raises(InputError, match=message):
        structure(source, edited, mask)
