"""Edits of one source share its inversion, and nothing else reaches a film."""

import gc

import numpy as np
import pytest
import torch

from synthorax.editing import edit, evaluations
from synthorax.editing.batches import chunks
from synthorax.editing.streaming import Way, stream

PROMPTS = ["Left effusion.", "Enlarged heart.", "No findings."]
SETTINGS = {"guidance_scale": 3.0, "num_inference_steps": 10, "skip": 0.3}


def test_six_edits_of_each_film_are_inverted_once_wherever_they_stand(gaussian, films):
    order = [0, 1, 0, 1, 0, 1, 1, 0, 0, 1, 0, 1]
    edit(
        films[order], [PROMPTS[n % 3] for n in range(12)], model=gaussian, seeds=[[7, 8][i] for i in order],
        batch_size=4, **SETTINGS,
    )  # fmt: skip
    assert gaussian.n_rows == 2 * 7 + 12 * 14 == 2 * evaluations("radedit", 10, 0.3, n_edits=6)


@pytest.mark.parametrize("other", ["seeds", "inversion_prompts", "images"])
def test_another_seed_caption_or_film_is_another_inversion(gaussian, films, other):
    call = {"images": films[[0, 0]], "seeds": [1, 1], "inversion_prompts": ["", ""]}
    call[other] = {"images": films[[0, 1]], "seeds": [1, 2], "inversion_prompts": ["", "No findings."]}[other]
    edit(call.pop("images"), PROMPTS[:2], model=gaussian, **call, **SETTINGS)
    assert gaussian.n_rows == 2 * evaluations("radedit", 10, 0.3)


def test_a_film_is_the_same_bits_in_any_company_order_and_chunk(tiny_model):
    two = np.random.default_rng(1).uniform(0, 1, (2, 32, 32)).astype(np.float32)
    rows = [(0, "Left effusion.", 1), (0, "Enlarged heart.", 1), (1, "Left effusion.", 2), (0, "No findings.", 1),
            (1, "No findings.", 2)]  # fmt: skip

    def made(some, size):
        return edit(
            two[[row[0] for row in some]], [row[1] for row in some], seeds=[row[2] for row in some],
            model=tiny_model, batch_size=size, pad_batches=True, **SETTINGS,
        )  # fmt: skip

    whole = made(rows, 2)
    assert np.abs(whole - two[[row[0] for row in rows]]).max() > 1e-3
    assert np.array_equal(made(rows[::-1], 2)[::-1], whole)
    for n, row in enumerate(rows):
        assert np.array_equal(made([row], 2)[0], whole[n])
    np.testing.assert_allclose(made(rows, 3), whole, atol=1e-4)  # another size of call: rounding


def test_a_chunk_has_the_edits_of_a_source_side_by_side(films):
    found = list(chunks(films[[0, 1, 0, 2, 1]], [""] * 5, [1] * 5, 3))
    assert [chunk.edits for chunk in found] == [[0, 2, 1], [4, 3]]
    assert [chunk.sources for chunk in found] == [[0, 0, 1], [0, 1]]
    assert [chunk.first for chunk in found] == [[0, 1], [1, 3]]


def test_memory_does_not_grow_with_the_steps(gaussian):
    class WeighedAtTheEnd:
        def __init__(self, steps):
            self.left, self.alive = steps, 0

        def __getattr__(self, name):
            return getattr(gaussian, name)

        def predict_noise(self, *inputs):
            self.left -= 1
            if self.left == 0:
                self.alive = sum(x.numel() for x in gc.get_objects() if type(x) is torch.Tensor)
            return gaussian.predict_noise(*inputs)

    x0 = torch.zeros(1, *gaussian.latent_shape)
    text, null = gaussian.encode_text(["Left effusion."]), gaussian.encode_text([""])

    def alive(steps):
        model = WeighedAtTheEnd(steps)
        stream(model, x0, null, [0], [0], text, null, way=Way(3.0, steps, order=2))
        return model.alive

    few, many = alive(4), alive(400)
    assert (
        few and many - few < 10 * 400
    )  # timesteps and their levels; one stored latent would be 1,024 a step
