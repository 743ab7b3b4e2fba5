"""Agreement with the target: hand-made sets, the empty ones, unknown concepts."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthorax.errors import InputError
from synthorax.quality.agreement import agreement, agreement_of_films
from synthorax.quality.summary import summarise

NAN = float("nan")
METRICS = ["jaccard", "hamming", "u_fp", "u_fn"]


@pytest.mark.parametrize(
    ("target", "read", "expected"),
    [
        pytest.param(
            [1, 1, 0, 0], [1, 0, 1, 0], (1 / 3, 0.5, 0.5, 0.5), id="one right, one missed, one made up"
        ),
        pytest.param([1, 1, 1, 0], [1, 0, 0, 0], (1 / 3, 0.5, 0, 2 / 3), id="two missed"),
        pytest.param([1, 0, 0, 0], [1, 1, 1, 0], (1 / 3, 0.5, 2 / 3, 0), id="two made up"),
        pytest.param([0, 0, 0, 0], [0, 0, 0, 0], (1, 0, 0, 0), id="both empty"),
        pytest.param([1, 0, 0, 0], [0, 0, 0, 0], (0, 0.25, 0, 1), id="empty read-back"),
        pytest.param([0, 0, 0, 0], [1, 0, 0, 0], (0, 0.25, 1, 0), id="nothing asked for"),
        pytest.param([1, NAN, 0, NAN], [1, 1, 1, 0], (0.5, 0.5, 0.5, 0), id="unknown left out"),
        pytest.param([1, 1, 0, 0], [1, NAN, 0, 0], (1, 0, 0, 0), id="judge cannot tell"),
    ],
)
def test_hand_made_sets(target, read, expected):
    found = agreement(np.array([target]), np.array([read]))
    assert found.select(METRICS).row(0) == pytest.approx(expected)


def test_empty_read_backs_are_counted_and_unknown_films_are_null():
    found = agreement(np.array([[1, 0], [0, 0], [NAN, NAN]]), np.zeros((3, 2)))
    assert found["is_empty_read_back"].to_list() == [True, False, False]
    assert found["jaccard"].to_list() == [0.0, 1.0, None] and found["n_compared"].to_list() == [2, 2, 0]


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([0.0, 1.0, NAN]), st.sampled_from([0.0, 1.0])), min_size=1, max_size=9)
)
def test_bounds_and_perfection(pairs):
    target, read = (np.array([column]) for column in zip(*pairs, strict=True))
    row = agreement(target, read).row(0, named=True)
    if row["n_compared"]:
        assert all(0 <= row[name] <= 1 for name in METRICS)
        assert (row["jaccard"] == 1) == (row["hamming"] == 0) == (row["u_fp"] == row["u_fn"] == 0)
    swapped = agreement(read, target).row(0, named=True)
    assert (swapped["jaccard"], swapped["hamming"]) == (row["jaccard"], row["hamming"])
    assert (swapped["u_fp"], swapped["u_fn"]) == (row["u_fn"], row["u_fp"])


def test_a_judge_reads_in_any_batches():
    """A judge that reads 'bright' and 'dark' from films of one grey value."""

    def judge(films):
        mean = films.mean((1, 2))
        return np.stack([mean, 1 - mean], axis=1)

    films = np.broadcast_to(np.array([0.9, 0.2, 0.55])[:, None, None], (3, 8, 8))
    targets = np.array([[1, 0], [0, 1], [1, 0]])
    whole = agreement_of_films(judge, [films], targets, [0.5, 0.4])
    assert whole.equals(agreement_of_films(judge, [films[:1], films[1:]], targets, [0.5, 0.4]))
    assert whole["jaccard"].to_list() == [1.0, 1.0, 0.5]


def test_summary_by_type_with_counts():
    frame = pl.DataFrame(
        {"perturbation_type": ["insertion", "deletion", "insertion"], "jaccard": [0.2, None, 0.6]},
    )
    found = summarise(frame, ["jaccard"])
    assert found["perturbation_type"].to_list() == ["insertion", "deletion", "overall"]
    assert found["mean"].to_list() == pytest.approx([0.4, None, 0.4])
    assert found["sd"][0] == pytest.approx(np.std([0.2, 0.6], ddof=1))
    assert found["n"].to_list() == [2, 0, 2] and found["n_left_out"].to_list() == [0, 1, 1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: agreement([[0.7]], [[1]]), "target of image 0, concept 0 is 0.7; expected 0, 1 or NaN"),
        (lambda: agreement([[1]], [[1, 0]]), r"targets have shape \(1, 1\) and the read-back \(1, 2\)"),
        (lambda: summarise(pl.DataFrame({"a": [1]}), ["a"]), "no column 'perturbation_type'; it has a."),
        (
            lambda: agreement_of_films(
                lambda films: np.ones((len(films), 2)), [np.zeros((1, 8, 8))], [[1, 0]], [0.5]
            ),
            "there are 1 thresholds; give one for each",
        ),
    ],
)
def test_messages(call, message):
    with pytest.raises(InputError, match=message):
        call()
