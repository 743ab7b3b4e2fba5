"""The samplers against closed forms."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from synthorax.diffusion.new_models import scheduler
from synthorax.diffusion.sampling import SAMPLERS, ddim_step, guided_noise, noise, sample, timesteps
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
        return scheduler("v_prediction").alphas_cumprod.double()

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
    reference = scheduler("v_prediction")
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
    reference = scheduler("v_prediction")
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


def diffusers_scheduler(name):
    from diffusers import DDIMScheduler, DPMSolverMultistepScheduler

    common = {"beta_schedule": "linear", "timestep_spacing": "trailing"}
    if name in ("ddim", "ancestral"):
        return DDIMScheduler(clip_sample=False, **common), {"eta": float(name == "ancestral")}
    algorithm = {"dpm-solver": "dpmsolver++", "dpm-solver-sde": "sde-dpmsolver++"}[name]
    return DPMSolverMultistepScheduler(algorithm_type=algorithm, solver_order=2, **common), {}


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of diffusers
@pytest.mark.parametrize("n", [5, 20])
@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_a_sampler_equals_diffusers_scheduler(name, n):
    reference, options = diffusers_scheduler(name)
    reference.set_timesteps(n)
    alphas = reference.alphas_cumprod
    abar = [float(alphas[t]) for t in reference.timesteps] + [1.0]
    z = torch.randn(n + 1, 3, 2, 4, 4, generator=torch.Generator().manual_seed(0))

    def eps(x, t):  # of data N(0.3, 0.5^2)
        a = alphas[t]
        return (1 - a).sqrt() * (x - a.sqrt() * 0.3) / (a * 0.25 + 1 - a)

    expected = z[0]
    for i, t in enumerate(reference.timesteps):
        is_noisy = name in ("ancestral", "dpm-solver-sde")
        more = {"variance_noise": z[i + 1]} if is_noisy else {}
        expected = reference.step(eps(expected, t), t, expected, **options, **more).prev_sample
    found = SAMPLERS[name](lambda x, i: eps(x, reference.timesteps[i]), z[0], abar, iter(z[1:]).__next__)
    assert (found - expected).abs().max() < 1e-4


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_a_sampler_carries_noise_to_the_data_distribution(name):
    model = GaussianModel()
    x = sample(model, ["2.0"] * 200, range(200), guidance_scale=1.0, num_inference_steps=100, sampler=name)
    x = x * np.sqrt(model.latent_shape[0])
    assert x.mean() == pytest.approx(2.0 * np.sqrt(2), abs=0.03)
    assert x.std() == pytest.approx(0.5, rel=0.08)  # noise added back narrows it: 7 % in 100 steps


@pytest.mark.parametrize(("name", "order"), [("ddim", 1), ("dpm-solver", 2)])
def test_twice_the_steps_leave_an_error_smaller_by_the_order(name, order):
    """The flow of N(m, s^2) in closed form: (x_t - sqrt(abar_t) m) / sqrt(var_t) stays as it is."""
    m, s2 = 0.3, 0.25

    def error(n):
        abar = torch.sigmoid(
            torch.linspace(-6, 6, n + 1, dtype=torch.float64)
        ).tolist()  # even in log(alpha / sigma)
        variance = [a * s2 + 1 - a for a in abar]
        x = torch.tensor([[[[2.0]]]], dtype=torch.float64)
        found = SAMPLERS[name](
            lambda x, i: (1 - abar[i]) ** 0.5 * (x - abar[i] ** 0.5 * m) / variance[i], x, abar, None
        )
        exact = abar[-1] ** 0.5 * m + (x - abar[0] ** 0.5 * m) * (variance[-1] / variance[0]) ** 0.5
        return float((found - exact).abs())

    assert error(40) / error(80) == pytest.approx(2**order, rel=0.15)


def test_an_unknown_sampler_gets_the_closest():
    with pytest.raises(InputError, match=r"sampler is 'dpm_solver'.*Did you mean 'dpm-solver'"):
        sample(GaussianModel(), ["1.0"], [1], sampler="dpm_solver")


def test_a_model_brings_its_own_settings():
    model = GaussianModel()
    own = sample(model, ["1.0"], [1])
    given = sample(model, ["1.0"], [1], guidance_scale=3.0, num_inference_steps=30, sampler="ddim")
    assert torch.equal(own, given)


def test_rescaled_guidance_equals_diffusers():
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg

    model = GaussianModel()
    x, t = noise(model, 3, 2), torch.tensor([500, 100])
    texts = model.encode_text(["1.0", "2.0"]), model.encode_text(["", ""])
    expected = rescale_noise_cfg(
        guided_noise(model, x, t, *texts, 4.0), model.predict_noise(x, t, texts[0]), 0.7
    )
    torch.testing.assert_close(guided_noise(model, x, t, *texts, 4.0, rescale=0.7), expected)


def test_guidance_acts_in_its_interval_alone_and_costs_nothing_outside():
    model = GaussianModel()
    x, t = noise(model, 3, 3), torch.tensor([900, 500, 100])
    texts = model.encode_text(["1.0", "2.0", "3.0"]), model.encode_text(["", "", ""])
    found = guided_noise(model, x, t, *texts, 4.0, interval=(0.2, 0.8))
    torch.testing.assert_close(found[1], guided_noise(model, x, t, *texts, 4.0)[1])
    torch.testing.assert_close(found[::2], model.predict_noise(x, t, texts[0])[::2])
    rows = []
    predict = model.predict_noise
    model.predict_noise = lambda x, t, text: rows.append(len(x)) or predict(x, t, text)
    sample(model, ["1.0"], [1], num_inference_steps=10, guidance_interval=(0.2, 0.8))
    assert sum(rows) == 10 + 6
