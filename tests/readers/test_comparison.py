"""Differences between methods against closed forms, and their intervals' coverage where the truth is known."""

import numpy as np
import pytest

from synthorax.readers.comparison import compare
from synthorax.seeds import generator

N_PATIENTS = 60


def answers(rng, n_readers, *, readers_differ, same=False):
    """Two methods, one film a patient, no true difference; each reader likes one method more by chance."""
    is_second = np.repeat([False, True], N_PATIENTS // 2)
    films = rng.normal(size=N_PATIENTS)
    liking = readers_differ * rng.normal(size=(n_readers, 2))[:, is_second.astype(int)]
    noise = rng.normal(size=(n_readers, N_PATIENTS)) * (not same)
    names = [f"p{i}" for i in range(N_PATIENTS)] * n_readers
    readers = np.repeat(np.arange(n_readers), N_PATIENTS)
    return (films + liking + noise).ravel(), np.tile(is_second, n_readers), names, readers.tolist()


def closed_form(score, is_second):
    return np.sqrt(sum(score[arm].var() / arm.sum() for arm in (is_second, ~is_second)))


@pytest.mark.parametrize("seed", range(3))
def test_one_reader_gives_the_closed_form_and_nothing_on_others(seed):
    score, is_second, patients, readers = answers(generator("one reader", seed), 1, readers_differ=0)
    found = compare(score, is_second, patients, readers, seed=seed)
    assert found.these.estimate == pytest.approx(score[is_second].mean() - score[~is_second].mean())
    width = 2 * 1.96 * closed_form(score, is_second)
    assert found.these.ci_high - found.these.ci_low == pytest.approx(width, rel=0.1)
    assert (found.like_them, found.n_readers) == (None, 1)


def test_readers_who_agree_in_all_are_no_source_of_chance():
    score, is_second, patients, readers = answers(generator("same"), 4, readers_differ=0, same=True)
    found = compare(score, is_second, patients, readers)
    once = slice(0, N_PATIENTS)
    width = 2 * 1.96 * closed_form(score[once], is_second[once])
    for interval in (found.these, found.like_them):
        assert interval.ci_high - interval.ci_low == pytest.approx(width, rel=0.1)


def test_the_variance_is_that_of_obuchowski_and_rockette():
    """With every film judged by all, var(d) = (MS + R cov) / R, all three of which have closed forms here."""
    n_readers = 6
    score, is_second, patients, readers = answers(generator("crossed"), n_readers, readers_differ=1)
    found = compare(score, is_second, patients, readers)
    table, arm = score.reshape(n_readers, N_PATIENTS), is_second[:N_PATIENTS]
    differences = table[:, arm].mean(1) - table[:, ~arm].mean(1)
    within = sum(np.cov(table[:, a], ddof=0) / a.sum() for a in (arm, ~arm))
    cov = (within.sum() - np.trace(within)) / (n_readers * (n_readers - 1))
    ms = differences.var(ddof=1)
    from scipy.stats import t

    df = (ms + n_readers * cov) ** 2 / (ms**2 / (n_readers - 1))
    reach = t.ppf(0.975, df) * np.sqrt((ms + n_readers * cov) / n_readers)
    assert found.like_them.estimate == pytest.approx(differences.mean())
    assert (found.like_them.ci_high - found.like_them.ci_low) / 2 == pytest.approx(reach, rel=0.05)


def test_the_interval_covers_the_truth_when_readers_differ():
    """95 % of 200 studies with six readers; patients alone promise too much."""
    rng = generator("coverage")
    covered = np.zeros(2)
    for _ in range(200):
        found = compare(*answers(rng, 6, readers_differ=0.5))
        covered += [i.ci_low <= 0 <= i.ci_high for i in (found.these, found.like_them)]
    alone, with_readers = covered / 200
    assert 0.91 <= with_readers <= 0.985 and alone < 0.85


def test_a_reader_who_saw_one_method_alone_is_not_counted():
    score, is_second, patients, readers = answers(generator("part"), 3, readers_differ=0)
    keep = ~((np.array(readers) == 2) & is_second)
    found = compare(score[keep], is_second[keep], np.array(patients)[keep].tolist(), np.array(readers)[keep].tolist())  # fmt: skip
    assert found.n_readers == 2 and found.like_them is not None
