"""Statistics with known answers, and critics on films that can and cannot be told apart."""

import numpy as np
import pytest

from synthorax.classifiers.metrics import auroc
from synthorax.errors import InputError
from synthorax.quality.realism import (
    CriticConfig,
    cohens_d,
    correlations,
    film_critic,
    film_statistics,
    inside,
    mean_correlation,
    patient_folds,
    radial_power,
    table_critic,
)

RNG = np.random.default_rng(0)
N = 120
Y = np.arange(N) % 2
PATIENTS = [f"{kind}-{i // 4}" for i, kind in enumerate(Y)]


def test_white_noise_has_its_variance_in_every_ring():
    power = radial_power(RNG.normal(50, 3, (256, 256)), [0.05, 0.1, 0.2, 0.35, 0.5])
    assert power == pytest.approx([9] * 4, rel=0.1)


def test_a_wave_is_in_its_own_ring():
    x = np.arange(256)
    wave = 100 + 20 * np.sin(2 * np.pi * 0.15 * x)[None].repeat(256, 0)
    power = radial_power(wave, [0.02, 0.1, 0.2, 0.5])
    assert power[1] > 1e4 * max(power[0], power[2])


def test_a_ring_without_a_frequency_is_unknown():
    assert np.isnan(radial_power(np.eye(8), [0.001, 0.01])[0])


def test_statistics_leave_the_border_out():
    film = np.tile(np.linspace(0, 255, 100), (100, 1))
    found = film_statistics(film)
    framed = film.copy()
    framed[:12] = framed[-12:] = framed[:, :12] = framed[:, -12:] = 0
    assert film_statistics(framed) == found
    assert found["mean"] == pytest.approx(127.5, abs=1e-3) and found["p50"] == pytest.approx(127.5, abs=1e-3)
    assert found["gradient"] == pytest.approx(255 / 99, rel=1e-4)
    assert inside(film).shape == (76, 76)


def test_effect_is_in_deviations():
    real = np.array([-1.0, 1.0] * 500)
    assert cohens_d(real, real + 2) == pytest.approx(2, rel=2e-3)


def test_correlation_counts_pairs_of_different_patients_only():
    a, b = RNG.normal(size=(2, 8, 8))
    matrix = correlations(np.stack([a, a, b]))
    found = mean_correlation(matrix, ["one", "one", "two"], np.ones((1, 3)))
    assert found[0] == pytest.approx(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def test_folds_share_no_patient():
    folds = patient_folds(Y, PATIENTS)
    assert all(len({folds[i] for i in range(N) if PATIENTS[i] == patient}) == 1 for patient in PATIENTS)
    assert all({0, 1} == set(Y[folds == fold]) for fold in range(3))
    with pytest.raises(InputError, match="2 patients of one kind cannot fill 3 folds"):
        patient_folds(Y[:8], PATIENTS[:8])


@pytest.mark.parametrize("kind", ["linear", "boosted"])
def test_table_critic(kind):
    folds = patient_folds(Y, PATIENTS)
    noise = RNG.normal(size=(N, 3))
    assert abs(auroc(Y, table_critic(noise, Y, folds, kind)) - 0.5) < 0.2
    assert auroc(Y, table_critic(noise + 3 * Y[:, None], Y, folds, kind)) > 0.95


def test_table_critic_of_another_kind():
    with pytest.raises(InputError, match="linear"):
        table_critic(np.zeros((2, 1)), np.arange(2), np.arange(2), "linaer")


@pytest.mark.parametrize(("blur", "low", "high"), [(False, 0.25, 0.75), (True, 0.95, 1)])
def test_film_critic_finds_texture_and_nothing_where_there_is_none(blur, low, high):
    films = RNG.normal(128, 30, (N, 48, 48))
    if blur:
        films[Y == 1] = (films[Y == 1] + np.roll(films[Y == 1], 1, 2)) / 2
    films = films.clip(0, 255).astype(np.uint8)
    folds = patient_folds(Y, PATIENTS)
    verdict = film_critic(films, Y, folds, CriticConfig(epochs=6))
    assert low <= auroc(Y, verdict.scores) <= high
    assert verdict.maps.mean((1, 2)) == pytest.approx(verdict.scores, abs=1e-4)
    if blur:
        again = film_critic(films, Y, folds, CriticConfig(epochs=6))
        assert (again.scores == verdict.scores).all()
