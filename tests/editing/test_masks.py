import numpy as np
import pytest

from synthorax.editing import masks
from synthorax.errors import InputError


def mask_of(*box, shape=(32, 32)):
    mask = np.zeros(shape, dtype=bool)
    mask[slice(*box[:2]), slice(*box[2:])] = True
    return mask


def test_edit_mask_grows_to_every_cell_it_touches():
    cells, message = masks.edit_cells(mask_of(3, 13, 8, 16), (8, 8))
    assert np.array_equal(np.argwhere(cells).min(0), [0, 2]) and np.array_equal(
        np.argwhere(cells).max(0), [3, 3]
    )
    assert message is None


def test_keep_mask_shrinks_to_the_cells_it_fills():
    cells, message = masks.keep_cells(mask_of(3, 13, 8, 16), (8, 8))
    assert np.argwhere(cells).tolist() == [[1, 2], [1, 3], [2, 2], [2, 3]]
    assert message is None


def test_keep_mask_that_is_the_complement_of_an_edit_mask_loses_nothing():
    edit = mask_of(5, 19, 7, 22)
    kept, message = masks.keep_cells(~edit, (8, 8))
    edited, _ = masks.edit_cells(edit, (8, 8))
    assert np.array_equal(kept, ~edited) and message is None


def test_thin_keep_mask_is_kept_and_reported():
    drain = mask_of(0, 32, 13, 14)
    cells, message = masks.keep_cells(drain, (8, 8))
    assert np.array_equal(cells, np.arange(8)[None] == np.full((8, 1), 3))
    assert (
        "has 32 of 32 px in parts thinner than a latent cell (4 px)" in message
        and "8 whole cells keep them" in message
    )


def test_thin_part_of_a_thick_keep_mask_is_kept_and_reported():
    pacemaker_with_lead = mask_of(0, 8, 0, 8) | mask_of(3, 4, 0, 32)
    cells, message = masks.keep_cells(pacemaker_with_lead, (8, 8))
    assert cells[:2, :2].all() and cells[0].all() and not cells[1, 2:].any()
    assert (
        "has 20 of 88 px in parts thinner" in message
    )  # the lead beyond the neighbour of the last full cell


def test_thin_edit_mask_is_used_and_reported():
    cells, message = masks.edit_cells(mask_of(5, 6, 2, 12), (8, 8))
    assert np.argwhere(cells).tolist() == [[1, 0], [1, 1], [1, 2]]
    assert "nowhere as wide as a latent cell (4 px): its 10 px become 3 whole cells, 48 px" in message


def test_sizes_that_do_not_divide():
    everything = np.ones((30, 30), dtype=bool)
    assert masks.keep_cells(everything, (8, 8))[0].all() and masks.edit_cells(everything, (8, 8))[0].all()
    one = mask_of(29, 30, 29, 30, shape=(30, 30))
    assert np.argwhere(masks.edit_cells(one, (8, 8))[0]).tolist() == [[7, 7]]
    assert np.argwhere(masks.keep_cells(one, (8, 8))[0]).tolist() == [[7, 7]]


def test_dilation_is_a_disk():
    point = mask_of(16, 17, 16, 17)
    y, x = np.indices(point.shape)
    assert np.array_equal(masks.dilate(point, 5), (y - 16) ** 2 + (x - 16) ** 2 <= 25)
    assert np.array_equal(masks.dilate(point, 0), point)
    assert not masks.dilate(np.zeros((4, 4), dtype=bool), 5).any()
    with pytest.raises(InputError, match="dilation_px is -1; expected 0 or more"):
        masks.dilate(point, -1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([None], r"edit_masks has 1 masks for 2 films; expected one \(or None\) a film"),
        ([None, np.ones((4, 4), bool)], r"edit_masks\[1\] has shape \(4, 4\); expected \(8, 8\), the film's"),
        ([np.ones((8, 8), np.float32), None], r"edit_masks\[0\] has dtype float32; expected bool.*mask > 0"),
        (
            np.zeros((2, 8, 8), bool),
            r"edit_masks\[0\] is empty; expected at least one pixel.*None to edit the whole film",
        ),
    ],
    ids=["number", "shape", "dtype", "empty"],
)
def test_messages(given, message):
    with pytest.raises(InputError, match=message):
        masks.checked(given, "edit_masks", (2, 8, 8))


def test_checked_accepts_none_an_array_or_a_list_with_gaps():
    some = mask_of(0, 2, 0, 2, shape=(8, 8))
    assert masks.checked(None, "keep_masks", (2, 8, 8)) == [None, None]
    assert masks.checked([some, None], "keep_masks", (2, 8, 8))[1] is None
    assert np.array_equal(masks.checked(np.stack([some, some]), "keep_masks", (2, 8, 8))[1], some)
    assert not masks.checked([~some & some, None], "keep_masks", (2, 8, 8))[
        0
    ].any()  # an empty keep mask keeps nothing
