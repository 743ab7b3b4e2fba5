"""Corruptions: graded, repeatable, and measured in pairs."""

import numpy as np
import pytest

from synthorax.classifiers import TestedModel
from synthorax.errors import InputError
from synthorax.stress import CORRUPTIONS, corrupt, measure_corruptions, read_films

from .conftest import reads_finding


def chest(size=256):
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    ribs = 0.1 * np.sin(120 * y + 6 * x)
    return np.clip(0.5 + 0.3 * np.cos(3 * x) * np.cos(2 * y) + ribs, 0, 1).astype(np.float32)


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_each_strength_changes_a_film_more_than_the_one_before(kind):
    film = chest()
    made = [corrupt(film, kind, strength, seed=3) for strength in (1, 2, 3, 4, 5)]
    changes = [float(np.sqrt(((one - film) ** 2).mean())) for one in made]
    assert changes == sorted(changes) and changes[0] > 0.003 and changes[-1] > 1.5 * changes[0]
    for one in made:
        assert one.shape == film.shape and one.dtype == np.float32 and 0 <= one.min() <= one.max() <= 1
    assert np.array_equal(made[2], corrupt(film, kind, 3, seed=3))


def test_what_each_kind_does_to_what_it_is_named_after():
    film = chest()
    assert corrupt(film, "overexposure", 3).mean() < film.mean() < corrupt(film, "underexposure", 3).mean()
    noise = corrupt(np.full((256, 256), 0.5, np.float32), "noise", 2) - 0.5
    assert noise.std() == pytest.approx(CORRUPTIONS["noise"].amounts[1], rel=0.05)
    point = np.zeros((97, 97), np.float32)
    point[48, 48] = 1
    blurred = corrupt(point, "blur", 5)
    rows = np.arange(97) - 48.0
    assert np.sqrt((blurred.sum(1) * rows**2).sum()) == pytest.approx(0.018 * 97, rel=0.05)
    line = np.zeros((97, 97), np.float32)
    line[48] = 1
    turned = corrupt(line, "rotation", 5)
    column = [int(turned[:, c].argmax()) for c in (20, 76)]
    angle = np.degrees(np.arctan2(abs(float(column[1] - column[0])), 56))
    assert angle == pytest.approx(25, abs=1.5)
    stripes = np.tile(np.float32([0, 1]), (64, 32))
    assert corrupt(stripes, "resolution", 1).std() < 0.1 * stripes.std()


def test_small_films_and_another_seed():
    assert corrupt(np.full((4, 5), 0.5, np.float32), "blur", 5).shape == (4, 5)
    assert not np.array_equal(corrupt(chest(), "noise", 1, seed=1), corrupt(chest(), "noise", 1, seed=2))


def test_a_fall_is_paired_and_counted_among_all(table_path):
    """A rule on the grey of the centre falls where films are darkened, and only there."""
    model = TestedModel("centre", reads_finding, threshold=0.7)
    found = measure_corruptions(model, read_films(table_path), kinds=("overexposure", "jpeg"))
    assert found.clean.estimate == 1.0 and found.clean.n_patients == 24
    rows = {(row.kind, row.strength): row for row in found.rows}
    assert rows["overexposure", 5].accuracy.estimate == 0.5 and rows["overexposure", 5].falls
    assert rows["overexposure", 5].change.estimate == -0.5 and rows["overexposure", 5].p_adjusted < 0.05
    assert not any(rows["jpeg", strength].falls for strength in (1, 2, 3))
    assert all(row.p_adjusted >= row.change.p_value for row in found.rows)


def test_unknown_kinds_and_strengths_are_refused(table_path):
    with pytest.raises(InputError, match="Did you mean 'rotation'"):
        corrupt(chest(), "rotaton", 1)
    with pytest.raises(InputError, match="strength is 6; expected one of 1, 2, 3, 4, 5"):
        corrupt(chest(), "blur", 6)
    with pytest.raises(InputError, match="corruption is 'fog'"):
        measure_corruptions(TestedModel("centre", reads_finding), read_films(table_path), kinds=("fog",))
