import numpy as np
import pytest
import torch

from synthorax.diffusion import timesteps
from synthorax.editing.inversion import invert
from synthorax.editing.radedit import radedit
from synthorax.editing.sdedit import sdedit
from synthorax.editing.streaming import Way


class Watched:
    """A model that keeps what it was shown, so that a test can look at every x_t."""

    def __init__(self, model):
        self.model, self.seen = model, []

    def __getattr__(self, name):
        return getattr(self.model, name)

    def predict_noise(self, x_t, t, embeddings):
        self.seen.append(x_t)
        return self.model.predict_noise(x_t, t, embeddings)


def inverted(model, x0, **settings):
    null = model.encode_text([""] * len(x0))
    text = model.encode_text(["Left effusion."] * len(x0))
    return invert(model, x0, null, range(len(x0)), **settings), text, null


def cells(model, *box):
    mask = torch.zeros(1, 1, *model.latent_shape[1:], dtype=torch.bool)
    mask[..., slice(*box[:2]), slice(*box[2:])] = True
    return mask


@pytest.fixture
def x0(gaussian):
    return 0.3 * torch.randn((1, *gaussian.latent_shape), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("guidance_scale", [1.0, 7.5])
@pytest.mark.parametrize(("steps", "skip"), [(2, 0.0), (50, 0.0), (50, 0.3), (50, 0.9)])
def test_guided_edit_moves_the_mean_as_the_closed_form_says_and_only_in_the_edit_mask(
    gaussian, x0, guidance_scale, steps, skip
):
    inversion, text, null = inverted(gaussian, x0, num_inference_steps=steps, skip=skip)
    mask = cells(gaussian, 2, 6, 1, 4)
    edited = radedit(gaussian, inversion, text, null, guidance_scale=guidance_scale, edit_cells=mask)
    # mu_uncond + w (mu_cond - mu_uncond) is the guided mean of this model.
    expected = gaussian.edited_shift(inversion.timesteps, guidance_scale * gaussian.means["Left effusion."])
    change = edited - x0
    inside = mask.expand_as(change)
    assert expected > 0
    np.testing.assert_allclose(change[inside], expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(change[~inside], 0, atol=1e-4)


def test_edit_of_narrow_data_reaches_the_guided_mean(gaussian, x0):
    gaussian.spread = 1e-3  # one possible image: the edit must be it, whatever the source
    inversion, text, null = inverted(gaussian, x0, num_inference_steps=10)
    edited = radedit(gaussian, inversion, text, null, guidance_scale=3.0)
    assert (edited - 0.6 - x0).abs().max() < 1e-3  # and the residuals bring the source's own detail along


def test_inside_keep_every_step_equals_the_inversion_path_bit_for_bit(gaussian, x0):
    watched = Watched(gaussian)
    inversion, text, null = inverted(gaussian, x0, num_inference_steps=8)
    keep = cells(gaussian, 0, 8, 0, 3)
    edited = radedit(watched, inversion, text, null, guidance_scale=15.0, edit_cells=~keep, keep_cells=keep)
    inside = keep.expand_as(x0)
    for k, x_t in enumerate(watched.seen):
        assert torch.equal(x_t[:1][inside], inversion.path[k][inside])
    assert torch.equal(edited[inside], x0[inside])
    assert (edited - x0)[~inside].abs().min() > 0.1


def test_content_of_the_keep_mask_counts_and_keep_wins_over_edit(gaussian, x0):
    inversion, text, null = inverted(gaussian, x0, num_inference_steps=5)
    edit = cells(gaussian, 0, 4, 0, 8)
    for keep in (cells(gaussian, 0, 2, 0, 8), cells(gaussian, 2, 4, 0, 8), cells(gaussian, 4, 8, 0, 8)):
        edited = radedit(
            gaussian, inversion, text, null, guidance_scale=7.5, edit_cells=edit, keep_cells=keep
        )
        changed = ((edited - x0).abs() > 1e-2).any(1, keepdim=True)
        assert torch.equal(changed, edit & ~keep)


def test_free_band_follows_the_unconditional_model(gaussian, x0):
    source = gaussian.encode_text(["No findings."])
    inversion = invert(gaussian, x0, source, [0], num_inference_steps=20)
    text, null = gaussian.encode_text(["Left effusion."]), gaussian.encode_text([""])
    edit = cells(gaussian, 0, 4, 0, 8)
    change = radedit(gaussian, inversion, text, null, guidance_scale=7.5, edit_cells=edit) - x0
    band = gaussian.edited_shift(inversion.timesteps, 0.0 - gaussian.means["No findings."])
    np.testing.assert_allclose(change[:, :, 4:], band, rtol=1e-3, atol=1e-4)


def test_sdedit_samples_the_guided_gaussian(gaussian):
    x0 = torch.zeros(8, *gaussian.latent_shape)
    text, null = gaussian.encode_text(["Left effusion."] * 8), gaussian.encode_text([""] * 8)
    edited = sdedit(gaussian, x0, text, null, range(8), way=Way(2.0, 100))
    assert abs(edited.mean().item() - 0.4) < 0.02  # 8,192 numbers: the mean's standard error is 0.0033
    assert abs(edited.std().item() - gaussian.sampled_spread(timesteps(gaussian, 100))) < 0.01
    near = sdedit(gaussian, x0, text, null, range(8), way=Way(2.0, 100, 0.97))
    assert near.abs().mean() < 0.1


def test_one_call_a_step_holds_both_branches(gaussian, x0):
    inversion, text, null = inverted(gaussian, x0, num_inference_steps=10, skip=0.4)
    gaussian.n_calls = gaussian.n_rows = 0
    radedit(gaussian, inversion, text, null, guidance_scale=7.5)
    assert (gaussian.n_calls, gaussian.n_rows) == (6, 12)
