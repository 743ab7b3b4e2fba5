"""The streamed walk against the stored algorithm, on an untrained U-Net of the embedded kind."""

import pytest
import torch

from synthorax.diffusion.sampling import timesteps
from synthorax.editing.inversion import invert
from synthorax.editing.radedit import radedit
from synthorax.editing.streaming import Way, stream
from synthorax.errors import InputError

PROMPTS = ["Left effusion.", "Enlarged heart.", "No findings."]


def latents(model, count):
    return torch.randn((count, *model.latent_shape), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("steps", "skip"), [(2, 0.0), (10, 0.3)])
def test_streamed_edits_equal_the_stored_algorithm(tiny_model, steps, skip):
    x0, sources = latents(tiny_model, 2), [0, 0, 1]
    text, null = tiny_model.encode_text(PROMPTS), tiny_model.encode_text([""] * 3)
    edit = torch.zeros(3, 1, *x0.shape[2:], dtype=torch.bool)
    edit[..., :5, :] = True
    keep = torch.zeros_like(edit)
    keep[..., 4:6, :] = True
    cells = {"edit_cells": edit, "keep_cells": keep}
    way = {"num_inference_steps": steps, "skip": skip}
    stored = radedit(
        tiny_model,
        invert(tiny_model, x0[sources], null, [[3, 4][s] for s in sources], **way),
        text,
        null,
        guidance_scale=7.5,
        **cells,
    )
    streamed = stream(
        tiny_model, x0, null[:2], [3, 4], sources, text, null, way=Way(7.5, steps, skip), **cells
    )
    assert (stored - x0[sources]).abs().max() > 1e-2  # the edits do change something
    assert (streamed - stored).abs().max() < 1e-4
    inside = keep.expand_as(streamed)
    assert torch.equal(streamed[inside], x0[sources][inside])


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("steps", [2, 3, 5, 20, 100])
def test_the_same_prompt_at_guidance_1_brings_the_source_back(tiny_model, steps, order):
    x0 = latents(tiny_model, 1)
    text, null = tiny_model.encode_text(PROMPTS[:1]), tiny_model.encode_text([""])
    back = stream(tiny_model, x0, text, [0], [0], text, null, way=Way(1.0, steps, order=order))
    assert (back - x0).abs().max() < 1e-4


def test_six_edits_of_one_source_cost_910_evaluations_at_100_steps_and_skip_0_3(gaussian):
    x0 = latents(gaussian, 1)
    text, null = gaussian.encode_text(["Left effusion."] * 6), gaussian.encode_text([""] * 6)
    stream(
        gaussian, x0, null[:1], [0], [0] * 6, text, null, way=Way(7.5, 100, 0.3)
    )  # fmt: skip
    assert (gaussian.n_calls, gaussian.n_rows) == (70, 910)


def test_inside_keep_every_step_equals_the_inversion_path_bit_for_bit(gaussian):
    class Watched:
        def __init__(self):
            self.seen = []

        def __getattr__(self, name):
            return getattr(gaussian, name)

        def predict_noise(self, x_t, t, embeddings):
            self.seen.append(x_t)
            return gaussian.predict_noise(x_t, t, embeddings)

    watched, x0 = Watched(), latents(gaussian, 1)
    text, null = gaussian.encode_text(PROMPTS[:1]), gaussian.encode_text([""])
    keep = torch.zeros(1, 1, *x0.shape[2:], dtype=torch.bool)
    keep[..., :3, :] = True
    stream(watched, x0, null, [0], [0], text, null, way=Way(15.0, 8, order=2), keep_cells=keep)
    inside = keep.expand_as(x0)
    for path, edit, _ in (x_t.split(1) for x_t in watched.seen):
        assert torch.equal(edit[inside], path[inside])
    assert len(watched.seen) == 8 and (watched.seen[-1][1] - watched.seen[-1][0]).abs().max() > 0.1


def test_all_noise_fresh_samples_the_guided_gaussian_whatever_the_source(gaussian):
    x0, text, null = (
        latents(gaussian, 1),
        gaussian.encode_text(["Left effusion."] * 8),
        gaussian.encode_text([""] * 8),
    )
    sources, seeds = x0.expand(8, -1, -1, -1), list(range(8))
    edited = stream(gaussian, sources, null, seeds, seeds, text, null, way=Way(2.0, 100, fresh_noise=1.0))
    assert abs(edited.mean().item() - 0.4) < 0.02  # 8,192 numbers: the mean's standard error is 0.0033
    assert abs(edited.std().item() - gaussian.sampled_spread(timesteps(gaussian, 100))) < 0.01


def test_fresh_noise_acts_in_the_edit_mask_alone_and_forgets_more_the_more_it_is(tiny_model):
    x0 = latents(tiny_model, 1)
    text, null = tiny_model.encode_text(PROMPTS[:1]), tiny_model.encode_text([""])
    edit = torch.zeros(1, 1, *x0.shape[2:], dtype=torch.bool)
    edit[..., :4, :] = True
    changed = {}
    for f in (0.3, 0.9):
        way = Way(1.0, 8, fresh_noise=f)
        change = (
            stream(tiny_model, x0, text, [0], [0], text, null, way=way, edit_cells=edit, keep_cells=~edit)
            - x0
        )
        assert torch.equal(change[..., 4:, :], torch.zeros_like(change[..., 4:, :]))
        changed[f] = change.abs().mean().item()
    assert 0.01 < changed[0.3] < changed[0.9]


def test_fresh_noise_out_of_range_is_refused():
    with pytest.raises(InputError, match=r"fresh_noise is 1\.5"):
        Way(2.0, 10, fresh_noise=1.5)
