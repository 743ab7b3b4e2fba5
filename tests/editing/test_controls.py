import numpy as np
import pytest

from synthorax.editing import blur, check, edit, edit_until, sham
from synthorax.editing.checks import Limits
from synthorax.errors import InputError

PROMPTS = ["Left effusion.", "Enlarged heart.", "No findings."]
SETTINGS = {"guidance_scale": 1.0, "num_inference_steps": 5, "skip": 0.0}


def half():
    mask = np.zeros((32, 32), dtype=bool)
    mask[:, :16] = True
    return mask


def test_sham_asks_for_what_is_there(gaussian, films):
    np.testing.assert_allclose(
        sham(films, PROMPTS, model=gaussian, seeds=[1, 2, 3], **SETTINGS), films, atol=1e-6
    )


def test_blur_changes_the_mask_as_much_as_the_edit_and_nothing_else(films):
    film, mask = films[0], half()
    edited = np.clip(film + 0.04 * mask, 0, 1)
    blurred = blur(film, edited, mask)
    assert np.array_equal(blurred[~mask], film[~mask])
    assert np.abs(blurred - film)[mask].mean() == pytest.approx(np.abs(edited - film)[mask].mean(), rel=0.01)
    assert blurred[mask].std() < film[mask].std()


def test_blur_without_a_pixel_or_of_another_shape_is_refused(films):
    with pytest.raises(InputError, match="the edit mask is empty"):
        blur(films[0], films[1], np.zeros((32, 32), dtype=bool))
    with pytest.raises(InputError, match=r"film \(32, 32\), edit \(8, 8\)"):
        blur(films[0], films[1][:8, :8])


def test_checks_of_known_changes(films):
    film, mask = films[0], half()
    step = film + 10 / 255 * mask  # ten grey levels that end at the border
    found = check(film, step, mask, marker_mask=mask, device_mask=~mask)
    assert found.marker_difference == pytest.approx(10, rel=1e-4) and found.device_difference == 0
    assert found.contrast_change == pytest.approx(0, abs=1e-6)
    assert found.seam_gradient == pytest.approx(
        5, rel=1e-3
    )  # central differences see half the step on either side
    assert found.problems(Limits(seam_gradient=6)) == [
        "the marker changed by 10 grey levels; at most 0.5 is allowed."
    ]
    assert found.problems(Limits(20)) == ["the mask's border shows: the change falls by 5 grey levels a pixel there; at most 2 is allowed."]  # fmt: skip
    flat = check(film, (film - film.mean()) * 0.5 + film.mean())
    assert flat.contrast_change == pytest.approx(-0.5, abs=1e-5) and flat.seam_gradient is None
    assert "contrast outside the edit mask changed by the factor -0.5" in flat.problems()[0]
    with pytest.raises(InputError, match=r"keep_mask has shape \(4, 4\); expected \(32, 32\)"):
        check(film, film, keep_mask=np.ones((4, 4), dtype=bool))


def test_only_films_that_the_judge_refuses_are_tried_again_and_the_best_try_stands(gaussian, films):
    asked = []

    def judge(edited, rows):
        asked.append(list(rows))
        return [1.0 if row == 1 else (edited[n] - films[row]).mean() for n, row in enumerate(rows)]

    settings = {"model": gaussian, "seeds": [1, 2, 3], **SETTINGS}
    tried = edit_until(films, PROMPTS, judge, budget=4, accept=0.5, strengths=(1.0, 3.0, 2.0), **settings)
    assert asked == [[0, 1, 2], [0, 2], [0, 2], [0, 2]]
    assert tried.n_tries.tolist() == [4, 1, 4] and tried.is_accepted.tolist() == [False, True, False]
    assert tried.guidance_scales.tolist() == [
        3.0,
        1.0,
        1.0,
    ]  # more effusion; a removal is darker at every strength
    assert np.array_equal(tried.images[1], edit(films, PROMPTS, **settings)[1])
    again = edit(
        films[:1], PROMPTS[:1], model=gaussian, seeds=tried.seeds[:1], **SETTINGS | {"guidance_scale": 3.0}
    )
    assert np.array_equal(tried.images[0], again[0])


def test_a_budget_or_a_judge_that_cannot_be_is_refused(gaussian, films):
    with pytest.raises(InputError, match="budget is 0; expected 1 or more"):
        edit_until(films, PROMPTS, lambda *_: [], model=gaussian, seeds=[1, 2, 3], budget=0, **SETTINGS)
    with pytest.raises(InputError, match=r"scores of shape \(0,\); expected one a film, \(3,\)"):
        edit_until(films, PROMPTS, lambda *_: [], model=gaussian, seeds=[1, 2, 3], **SETTINGS)
