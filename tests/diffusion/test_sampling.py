"""The samplers against closed forms."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from synthorax.diffusion.sampling import ddim_step, guided_noise, noise, sample, timesteps
from synthorax.diffusion.train_diffusion import scheduler
from synthorax.errors import InputError


@dataclass
class GaussianModel:
    """Data ~ N(mean(prompt), s^2): the exact noise prediction is (x_t - sqrt(abar) mean) sqrt(1 - abar) / var_t."""

    s: float = 0.5
    latent_shape = (2, 4, 4)
    device = torch.device("cpu")
    sample_settings = {"guidance_scale": 3.0, "num_inference_steps": 30, "sampler": "ddim"}  # noqa: RUF012

    @property
    def alphas_cumprod(self):
        return scheduler().alphas_cumprod.double()

    def encode_text(self, prompts, like=None):
        return torch.tensor([[[0.0 if text == "" else float(text)]] for text in prompts])

    def predict_noise(self, x_t, t, embeddings):
        abar = self.alphas_cumprod[t].float()[:, None, None, None]
        mean = embeddings[:, :, :, None]
        return (1 - abar).sqrt() * (x_t - abar.sqrt() * mean) / (abar * self.s**2 + 1 - abar)

    def decode(self, latents):
        return latents.mean(1)


@pytest.mark.parametrize("n", [1, 2, 7, 61, 100, 122, 1000])
def test_timesteps_are_trailing_and_as_many_as_asked(n):
    steps = timesteps(GaussianModel(), n)
    assert steps[0] == 999 and len(steps) == n
    assert (steps.diff() < 0).all() and steps[-1] >= 0
    reference = scheduler()
    if 1000 % n == 0:
        reference.set_timesteps(n)
        assert steps.tolist() == reference.timesteps.tolist()


def test_more_steps_than_the_model_has_are_refused():
    with pytest.raises(InputError, match="num_inference_steps is 1001; expected 1 to 1000"):
        timesteps(GaussianModel(), 1001)


def test_ddim_carries_noise_to_the_data_distribution():
    model = GaussianModel()
    x = sample(model, ["2.0"] * 200, range(200), guidance_scale=1.0, num_inference_steps=200)
    x = x * np.sqrt(model.latent_shape[0])  # decode averages the channels
    assert x.mean() == pytest.approx(2.0 * np.sqrt(2), abs=0.03)
    assert x.std() == pytest.approx(0.5, rel=0.03)


def test_a_step_equals_diffusers_scheduler():
    reference = scheduler()
    reference.set_timesteps(20)
    generator = torch.Generator().manual_seed(0)
    x_t, v = torch.randn((2, 1, 2, 4, 4), generator=generator)
    t = reference.timesteps[5]
    abar_t, abar_s = (float(reference.alphas_cumprod[step]) for step in (t, reference.timesteps[6]))
    eps = abar_t**0.5 * v + (1 - abar_t) ** 0.5 * x_t
    expected = reference.step(v, t, x_t, eta=0.0).prev_sample
    torch.testing.assert_close(ddim_step(x_t, eps, abar_t, abar_s), expected, atol=1e-4, rtol=1e-4)


def test_guidance_extrapolates_from_the_unconditional_prediction():
    model = GaussianModel()
    x, t = noise(model, 3, 2), torch.tensor([500, 100])
    conditional, unconditional = model.encode_text(["1.0", "2.0"]), model.encode_text(["", ""])
    by_hand = model.predict_noise(x, t, unconditional) * -2 + 3 * model.predict_noise(x, t, conditional)
    torch.testing.assert_close(guided_noise(model, x, t, conditional, unconditional, 3.0), by_hand)


def test_a_film_does_not_depend_on_its_neighbours():
    model = GaussianModel()
    together = sample(model, ["1.0", "2.0", "3.0"], [1, 2, 3], num_inference_steps=5)
    alone = sample(model, ["2.0"], [2], num_inference_steps=5)
    torch.testing.assert_close(together[1:2], alone)
