"""The methods by name: what each promises, on a model with a closed form and on a real U-Net."""

import numpy as np
import pytest
import torch

from synthorax.editing import METHODS, PRESETS, Way, edit, evaluations
from synthorax.editing.ddim import ddim_path
from synthorax.editing.diffedit import predicted_mask
from synthorax.editing.inversion import used_steps
from synthorax.editing.streaming import stream
from synthorax.errors import InputError

PROMPTS = ["Left effusion.", "Enlarged heart.", "No findings."]
SETTINGS = {"guidance_scale": 3.0, "num_inference_steps": 10, "skip": 0.3}


def latents(model, count=1, scale=1.0):
    return scale * torch.randn((count, *model.latent_shape), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("steps", [2, 3, 5, 20, 100])
def test_ddims_way_back_is_exact_too(tiny_model, steps):
    x0, text, way = latents(tiny_model), tiny_model.encode_text(PROMPTS[:1]), Way(1.0, steps)
    path = ddim_path(tiny_model, x0, text, way=way)
    back = stream(tiny_model, x0, text, [0], [0], text, text, way=way, path=path)
    assert (back - x0).abs().max() < 1e-4


def test_ddims_path_of_a_gaussian_ends_where_the_flow_ends(gaussian):
    x0 = latents(gaussian, scale=0.3)
    path = ddim_path(gaussian, x0, gaussian.encode_text([""]), way=Way(1.0, 1000))
    _, alpha_bar = used_steps(gaussian, 1000, 0.0)
    spread = (alpha_bar[0] * gaussian.spread**2 + 1 - alpha_bar[0]).sqrt()  # the flow keeps a film's quantile
    torch.testing.assert_close(path[0], x0 / gaussian.spread * spread.float(), rtol=0.02, atol=0.02)


def test_diffedit_is_radedit_that_keeps_all_outside_the_edit_mask(gaussian, films):
    mask = np.zeros((32, 32), dtype=bool)
    mask[8:24, 4:16] = True
    settings = {"model": gaussian, "seeds": [1, 2, 3], "edit_masks": [mask] * 3, **SETTINGS}
    edited = edit(films, PROMPTS, method="diffedit", **settings)
    assert np.array_equal(edited, edit(films, PROMPTS, keep_masks=[~mask] * 3, **settings))
    assert np.array_equal(edited[:, ~mask], films[:, ~mask]) and np.abs(edited - films)[0, mask].min() > 0.05


def test_diffedit_without_a_mask_predicts_where_the_captions_differ(gaussian, films):
    class Local:
        """Captions differ in the upper left quarter only."""

        def __getattr__(self, name):
            return getattr(gaussian, name)

        def predict_noise(self, x_t, t, embeddings):
            there = torch.zeros(x_t.shape[2:])
            there[:4, :4] = 1
            default = gaussian.predict_noise(x_t, t, torch.zeros_like(embeddings))
            return default + there * (gaussian.predict_noise(x_t, t, embeddings) - default)

    model, x0 = Local(), gaussian.encode(torch.from_numpy(films[:2]))
    text, null = gaussian.encode_text(PROMPTS[:2]), gaussian.encode_text(["", ""])
    cells = predicted_mask(model, x0, null, text, [1, 2])
    assert cells[:, 0, :4, :4].all() and cells.sum() == 2 * 16
    edited = edit(films[:2], PROMPTS[:2], model=model, seeds=[1, 2], method="diffedit", **SETTINGS)
    changed = edited != films[:2]
    assert changed[:, :16, :16].any() and not changed[:, 16:].any() and not changed[:, :, 16:].any()


def test_lance_needs_the_sources_own_caption(gaussian, films):
    with pytest.raises(
        InputError, match=r"inversion_prompts\[0\] is empty; method 'lance' inverts with what the source"
    ):
        edit(films, PROMPTS, model=gaussian, seeds=[1, 2, 3], method="lance", **SETTINGS)
    same = edit(
        films, PROMPTS, model=gaussian, seeds=[1, 2, 3], method="lance", inversion_prompts=PROMPTS,
        **SETTINGS | {"guidance_scale": 1.0},
    )  # fmt: skip
    np.testing.assert_allclose(same, films, atol=1e-6)


@pytest.mark.parametrize("method", sorted(set(METHODS) - {"radedit", "diffedit"}))
def test_a_method_without_masks_says_so(gaussian, films, method):
    mask = np.ones((32, 32), dtype=bool)
    with pytest.raises(InputError, match=rf"method '{method}' knows no masks, but masks were given"):
        edit(films[:1], PROMPTS[:1], model=gaussian, seeds=[1], method=method, keep_masks=[mask])


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_a_preset_costs_what_is_stated_and_gives_the_source_back(tiny_model, preset):
    films = np.random.default_rng(1).uniform(0, 1, (1, 32, 32)).astype(np.float32)
    n_rows = 0

    class Counted:
        def __getattr__(self, name):
            return getattr(tiny_model, name)

        def predict_noise(self, x_t, t, embeddings):
            nonlocal n_rows
            n_rows += len(x_t)
            return tiny_model.predict_noise(x_t, t, embeddings)

    same = edit(
        films, PROMPTS[:1], model=Counted(), seeds=[1], inversion_prompts=PROMPTS[:1], negative_prompts=PROMPTS[:1],
        guidance_scale=1.0, num_inference_steps=100, skip=0.3, preset=preset,
    )  # fmt: skip
    np.testing.assert_allclose(same, films, atol=1e-3)
    assert n_rows == evaluations("radedit", 100, 0.3, preset)


def test_fast_costs_at_most_12_evaluations():
    assert evaluations("radedit", 100, 0.3, "fast") <= 12


def test_an_unknown_preset_gets_the_closest(gaussian, films):
    with pytest.raises(InputError, match=r"preset is 'fsat'; expected one of .* Did you mean 'fast'"):
        edit(films, PROMPTS, model=gaussian, seeds=[1, 2, 3], preset="fsat")


@pytest.mark.parametrize(("settings", "n_evaluated"), [({}, 10), ({"unguided": 0.5}, 5), ({"reuse": 3}, 4)])
def test_branches_left_out_or_reused_are_not_evaluated(gaussian, settings, n_evaluated):
    x0, text, null = latents(gaussian), gaussian.encode_text(["Left effusion."]), gaussian.encode_text([""])
    way = Way(3.0, 10, **settings)
    stream(gaussian, x0, null, [0], [0], text, null, way=way)
    assert gaussian.n_rows == 20 + n_evaluated == sum(way.evaluations())


def test_a_reused_guidance_that_did_not_change_is_the_evaluated_one(gaussian):
    gaussian.spread = 1e9  # eps hardly depends on x then, nor does the difference of two captions
    x0, text, null = latents(gaussian), gaussian.encode_text(["Left effusion."]), gaussian.encode_text([""])
    found = [stream(gaussian, x0, null, [0], [0], text, null, way=Way(3.0, 4, reuse=n)) - x0 for n in (1, 4)]
    torch.testing.assert_close(found[0], found[1], atol=1e-4, rtol=0)
