import pytest
import torch

from synthorax.diffusion import timesteps
from synthorax.editing.inversion import invert, n_used, posterior_mean, sigma, step_noise, used_steps
from synthorax.editing.radedit import radedit
from synthorax.errors import InputError, ModelError


def latents(model, n=2):
    return torch.randn((n, *model.latent_shape), generator=torch.Generator().manual_seed(1))


def there_and_back(model, x0, steps, skip):
    text = model.encode_text(["Left effusion."] * len(x0))
    null = model.encode_text([""] * len(x0))
    inversion = invert(model, x0, text, range(len(x0)), num_inference_steps=steps, skip=skip)
    return radedit(model, inversion, text, null, guidance_scale=1.0)


@pytest.mark.parametrize("skip", [0.0, 0.3, 0.99])
def test_same_prompt_at_guidance_1_gives_the_source_back_at_every_number_of_steps(gaussian, skip):
    x0 = latents(gaussian)
    for steps in range(2, 51):
        assert (there_and_back(gaussian, x0, steps, skip) - x0).abs().max() < 1e-4, steps


@pytest.mark.parametrize("steps", [2, 3, 7, 20, 50])
@pytest.mark.parametrize("skip", [0.0, 0.3])
def test_same_prompt_gives_the_source_back_through_a_real_unet(tiny_model, steps, skip):
    x0 = latents(tiny_model)
    assert (there_and_back(tiny_model, x0, steps, skip) - x0).abs().max() < 1e-4


@pytest.mark.parametrize("steps", [2, 5, 10, 50])
def test_step_is_that_of_diffusers_ddim_with_eta_1(gaussian, steps):
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler(beta_schedule="linear", clip_sample=False, timestep_spacing="trailing")
    scheduler.set_timesteps(steps)
    gaussian.alphas_cumprod = scheduler.alphas_cumprod.double()
    used, alpha_bar = used_steps(gaussian, steps, 0.0)
    assert used.tolist() == scheduler.timesteps.tolist()
    x, epsilon, z = (torch.randn(1, 2, 3, 3, generator=torch.Generator().manual_seed(s)) for s in (1, 2, 3))
    for k, t in enumerate(used):
        ours = posterior_mean(x, epsilon, alpha_bar[k], alpha_bar[k + 1])
        noisy = ours + sigma(alpha_bar[k], alpha_bar[k + 1]).to(x) * z
        theirs = scheduler.step(epsilon, t, x, eta=1.0, variance_noise=torch.zeros_like(x)).prev_sample
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
        theirs = scheduler.step(epsilon, t, x, eta=1.0, variance_noise=z).prev_sample
        torch.testing.assert_close(noisy, theirs, rtol=1e-4, atol=1e-4)
    assert sigma(alpha_bar[-2], alpha_bar[-1]) == 0


def test_path_is_the_source_with_independent_noise_of_the_stated_level(gaussian):
    x0 = latents(gaussian, 1)
    inversion = invert(gaussian, x0, gaussian.encode_text([""]), [5], num_inference_steps=4)
    noises = []
    for k, t in enumerate(inversion.timesteps):
        abar = gaussian.alphas_cumprod[t]
        expected = abar.sqrt() * x0 + (1 - abar).sqrt() * step_noise([5], int(t), x0)
        torch.testing.assert_close(inversion.path[k], expected.float(), rtol=1e-5, atol=1e-5)
        noises.append(step_noise([5], int(t), x0).flatten())
    correlation = torch.corrcoef(torch.stack(noises))
    assert (correlation - torch.eye(4)).abs().max() < 0.12  # 1,024 numbers each: four standard errors
    assert torch.equal(inversion.path[-1], x0)
    assert inversion.epsilon.isfinite().all()


def test_only_used_steps_are_inverted_and_a_step_has_the_same_noise_whatever_is_skipped(gaussian):
    x0, text = latents(gaussian), gaussian.encode_text([""] * 2)
    whole = invert(gaussian, x0, text, [1, 2], num_inference_steps=10)
    gaussian.n_rows = 0
    part = invert(gaussian, x0, text, [1, 2], num_inference_steps=10, skip=0.3)
    assert gaussian.n_rows == 7 * 2
    assert torch.equal(part.path, whole.path[3:])
    assert torch.equal(part.epsilon, whole.epsilon[3:])
    assert part.timesteps.tolist() == timesteps(gaussian, 10)[3:].tolist()


def test_edit_is_that_of_the_papers_algorithms_with_stored_z(gaussian):
    """Algorithms 1 and 3 as printed, with z_t divided and multiplied, but for the step that cannot be."""
    x0 = latents(gaussian)
    text, null = gaussian.encode_text(["Left effusion."] * 2), gaussian.encode_text([""] * 2)
    inversion = invert(gaussian, x0, null, [1, 2], num_inference_steps=20, skip=0.2)
    x, a = inversion.path[0], inversion.alpha_bar
    for k, t in enumerate(inversion.timesteps):
        t = t.expand(2)
        mean = posterior_mean(
            inversion.path[k], gaussian.predict_noise(inversion.path[k], t, null), a[k], a[k + 1]
        )
        epsilon_cond, epsilon_uncond = gaussian.predict_noise(x, t, text), gaussian.predict_noise(x, t, null)
        epsilon = epsilon_uncond + 4.0 * (epsilon_cond - epsilon_uncond)
        x = posterior_mean(x, epsilon, a[k], a[k + 1])
        if sigma(a[k], a[k + 1]) > 0:
            z = (inversion.path[k + 1] - mean) / sigma(a[k], a[k + 1]).float()
            x = x + sigma(a[k], a[k + 1]).float() * z
        else:
            x = x + (x0 - mean)
    torch.testing.assert_close(
        radedit(gaussian, inversion, text, null, guidance_scale=4.0), x, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(
    ("steps", "skip", "used"),
    [(100, 0.3, 70), (100, 0.29, 71), (10, 0.0, 10), (10, 0.99, 1), (1, 0.9, 1), (3, 0.5, 2)],
)
def test_number_of_used_steps(steps, skip, used):
    assert n_used(steps, skip) == used


def test_settings_out_of_range_are_refused(gaussian):
    with pytest.raises(InputError, match=r"skip is 1; expected a fraction from 0"):
        n_used(10, 1)
    with pytest.raises(InputError, match="num_inference_steps is 0; expected 1 or more"):
        n_used(0, 0.3)
    gaussian.alphas_cumprod[-1] = 0
    with pytest.raises(ModelError, match=r"alphas_cumprod\[999\] is 0.*Raise skip above 0\.1"):
        used_steps(gaussian, 10, 0.0)
    assert len(used_steps(gaussian, 10, 0.1)[0]) == 9
