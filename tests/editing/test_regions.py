import numpy as np
import pytest

from synthorax.concepts import Vocabulary
from synthorax.editing.regions import finding_masks, region, regions
from synthorax.errors import InputError


def test_every_finding_of_the_vocabulary_has_a_region_on_the_film():
    vocabulary = Vocabulary.load()
    assert set(regions()) == set(vocabulary.pathologies)
    for finding, boxes in regions().items():
        assert set(boxes) >= ({"left", "right"} if vocabulary.by_name[finding].sided else {"bilateral"})
        assert all(0 <= t < b <= 1 and 0 <= left < right <= 1 for t, b, left, right in boxes.values())


def test_sides_are_the_patients_and_zones_are_thirds():
    left, right = region("effusion", "left"), region("effusion", "right")
    assert np.argwhere(left)[:, 1].mean() > 256 > np.argwhere(right)[:, 1].mean()
    assert np.array_equal(region("effusion"), left | right)
    zones = [region("consolidation", "left", zone) for zone in ("upper", "middle", "lower")]
    assert np.array_equal(zones[0] | zones[1] | zones[2], region("consolidation", "left"))
    assert sum(map(np.sum, zones)) == region("consolidation", "left").sum()


def test_masks_of_a_finding_leave_a_free_band():
    edit, keep = finding_masks(["costophrenic_angle"], {"costophrenic_angle": "right"}, (256, 256))
    assert np.array_equal(edit, region("costophrenic_angle", "right", shape=(256, 256)))
    assert keep.any() and not (keep & edit).any() and not (keep | edit).all()
    assert edit[255, 0] and keep[0, 255]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (("efusion",), "finding is 'efusion'; expected one of .*Did you mean 'effusion'"),
        (("effusion", "lefft"), "side is 'lefft'; expected one of .*Did you mean 'left'"),
        (("effusion", "left", "lowest"), "zone is 'lowest'; expected one of .*Did you mean 'lower'"),
    ],
)
def test_what_does_not_exist_gets_the_closest(asked, message):
    with pytest.raises(InputError, match=message):
        region(*asked)
