"""Run lengths: hand-made values, round trips, the real SIIM-ACR table, and what is refused."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from synthorax.errors import InputError
from synthorax.studies.run_lengths import FORMS, decode, encode
from synthorax.studies.tables import read_table

#: Columns 0 and 2 of the upper row, and the lower row's middle.
MASK = np.array([[1, 0, 1], [0, 1, 0]], dtype=bool)


@pytest.mark.parametrize(
    ("form", "text"),
    [
        # Down the columns: 1 0 | 0 1 | 1 0.
        ("relative", "0 1 2 2"),
        ("coco", "0 1 2 2 1"),
        # Along the rows, from 1: 1 0 1 | 0 1 0.
        ("absolute", "1 1 3 1 5 1"),
    ],
)
def test_hand_made(form, text):
    assert encode(MASK, form) == text
    assert np.array_equal(decode(text, 2, 3, form), MASK)


@pytest.mark.parametrize("form", FORMS)
@settings(deadline=None, max_examples=60)
@given(mask=arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=12)), data=st.data())
def test_round_trip(form, mask, data):
    assert np.array_equal(decode(encode(mask, form), *mask.shape, form), mask)


@pytest.mark.parametrize("text", ["-1", "", " "])
def test_nothing_marked(text):
    assert not decode(text, 3, 4, "relative").any()


@pytest.mark.parametrize(
    ("text", "form", "sentence"),
    [
        ("1 2 x 3", "relative", "run lengths hold 'x'; expected whole numbers"),
        ("1 2 3", "absolute", "run lengths hold 3 numbers; expected pairs."),
        ("1 90", "absolute", "a run ends at pixel 90 of a mask of 2 x 3; expected it inside."),
        ("0 1", "absolute", "a run ends at pixel 0 of a mask of 2 x 3"),
        ("1 2", "rle", "form is 'rle'; expected one of absolute, coco, relative."),
    ],
)
def test_what_is_refused(text, form, sentence):
    with pytest.raises(InputError) as caught:
        decode(text, 2, 3, form)
    assert sentence in str(caught.value)


def test_masks_of_siim_acr_as_published():
    """Every 30th of the 3,576 published masks: decoded as the competition's own loop does, and encoded back to the letter."""
    spec = find_spec("torchxrayvision")
    if spec is None:
        pytest.skip("torchxrayvision is not installed (extra xrv)")
    folder = Path(spec.submodule_search_locations[0]) / "data"
    cells = [
        cell.strip() for cell in read_table(folder / "siim-pneumothorax-train-rle.csv.gz")[" EncodedPixels"]
    ]
    marked = [cell for cell in cells if cell != "-1"]
    assert len(cells) == 12_954 and len(marked) == 3_576
    for cell in marked[::30]:
        flat, at = np.zeros(1024 * 1024, dtype=bool), 0
        numbers = list(map(int, cell.split()))
        for gap, length in zip(numbers[::2], numbers[1::2], strict=True):
            at += gap
            flat[at : at + length] = True
            at += length
        mask = decode(cell, 1024, 1024, "relative")
        assert np.array_equal(mask, flat.reshape(1024, 1024).T)
        assert encode(mask, "relative") == cell
