"""Samplers: one plain loop each, independent of the network.

| variable | symbol | meaning |
| --- | --- | --- |
| x_t | x_t | noisy latents |
| abar_t, abar_s | abar_t, abar_s | products of 1 - beta at the current and the next (less noisy) step; abar_s = 1 at the end |
| eps | eps_theta | predicted noise |
| sigma | sigma_t(eta) | noise added back: 0 for DDIM, the posterior's for eta = 1 |
| alpha_s, sigma_s | alpha_s, sigma_s | (DPM-Solver++) sqrt(abar_s), sqrt(1 - abar_s) |
| h | h_i | (DPM-Solver++) how much log(alpha / sigma) grows in a step |
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from synthorax.diffusion.model import DiffusionModel
from synthorax.errors import InputError, unknown_choice

#: Called after every network evaluation with the number of films it advanced.
Progress = Callable[[int], None]
#: (x_t, step number) -> eps, shaped as x_t.
Predict = Callable[[Tensor, int], Tensor]
#: () -> the next standard normal latents, each film's from its own generator.
FreshNoise = Callable[[], Tensor]


def timesteps(model: DiffusionModel, num_inference_steps: int) -> Tensor:
    """Descending timesteps with trailing spacing: T-1 first, ``num_inference_steps`` of them, int64."""
    T = len(model.alphas_cumprod)
    if not 1 <= num_inference_steps <= T:
        raise InputError(
            f"num_inference_steps is {num_inference_steps}; expected 1 to {T}, the model's own steps."
        )
    i = np.arange(num_inference_steps)
    return torch.from_numpy(np.round(T - i * (T / num_inference_steps)).astype(np.int64) - 1)


def noise(model: DiffusionModel, seed: int, count: int = 1) -> Tensor:
    """``count`` standard normal latents of one item, ``(count, C, h, w)``, from its own seed on the CPU."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((count, *model.latent_shape), generator=generator)


def guided_noise(
    model: DiffusionModel,
    x_t: Tensor,
    t: Tensor,
    conditional: Tensor,
    unconditional: Tensor,
    w: float,
    *,
    interval: tuple[float, float] = (0.0, 1.0),
    rescale: float = 0.0,
) -> Tensor:
    """Classifier-free guidance: eps_uncond + w (eps_cond - eps_uncond), both in one evaluation.

    Args:
        model: predicts the noise.
        x_t: noisy latents, ``(N, C, h, w)``.
        t: timesteps, ``(N,)``.
        conditional: embeddings of the prompts.
        unconditional: embeddings of what guidance pushes away from.
        w: 1 is no guidance.
        interval: guide only while low <= t / T < high (Kynkaanniemi et al. 2024): without it at the noisiest steps
            films keep their variety, without it at the last ones their texture; a batch wholly outside costs half.
        rescale: 0 to 1, share of the guided prediction that is brought to the conditional one's standard deviation
            (Lin et al. 2024, equations 15 and 16): against films that strong guidance makes too contrasty.
    """
    phase = t / len(model.alphas_cumprod)
    is_guided = (interval[0] <= phase) & (phase < interval[1])
    if w == 1 or not is_guided.any():
        return model.predict_noise(x_t, t, conditional)
    both = model.predict_noise(x_t.repeat(2, 1, 1, 1), t.repeat(2), torch.cat([conditional, unconditional]))
    eps_cond, eps_uncond = both.chunk(2)
    eps = eps_uncond + w * (eps_cond - eps_uncond)
    if rescale:
        eps = eps * (1 - rescale + rescale * _std(eps_cond) / _std(eps))
    return torch.where(is_guided[:, None, None, None], eps, eps_cond)


def _std(eps: Tensor) -> Tensor:
    return eps.std(dim=(1, 2, 3), keepdim=True)


def ddim_step(
    x_t: Tensor, eps: Tensor, abar_t: float, abar_s: float, eta: float = 0.0, z: Tensor | None = None
) -> Tensor:
    """One step t -> s: equation 12 of Song et al. 2021 (DDIM); eta = 1 is the ancestral sampler."""
    x0 = (x_t - (1 - abar_t) ** 0.5 * eps) / abar_t**0.5
    sigma = eta * ((1 - abar_s) / (1 - abar_t) * (1 - abar_t / abar_s)) ** 0.5
    x_s = abar_s**0.5 * x0 + max(1 - abar_s - sigma**2, 0.0) ** 0.5 * eps
    return x_s if z is None else x_s + sigma * z


def ddim(predict: Predict, x: Tensor, abar: Sequence[float], fresh: FreshNoise) -> Tensor:
    """Deterministic sampling (Song et al. 2021)."""
    for i, (abar_t, abar_s) in enumerate(pairwise(abar)):
        x = ddim_step(x, predict(x, i), abar_t, abar_s)
    return x


def ancestral(predict: Predict, x: Tensor, abar: Sequence[float], fresh: FreshNoise) -> Tensor:
    """DDPM's sampler on fewer steps (Ho et al. 2020): DDIM with eta = 1."""
    for i, (abar_t, abar_s) in enumerate(pairwise(abar)):
        x = ddim_step(x, predict(x, i), abar_t, abar_s, eta=1.0, z=fresh())
    return x


def dpm_solver(
    predict: Predict, x: Tensor, abar: Sequence[float], fresh: FreshNoise, *, is_sde: bool = False
) -> Tensor:
    """DPM-Solver++(2M), Algorithm 2 of Lu et al. 2022; with ``is_sde`` the same paper's SDE form.

    The first step and the last, which ends without noise, are of first order.
    """
    k = 2 if is_sde else 1
    x0_before, h_before = x, 0.0
    for i, (abar_t, abar_s) in enumerate(pairwise(abar)):
        alpha_t, sigma_t = abar_t**0.5, (1 - abar_t) ** 0.5
        alpha_s, sigma_s = abar_s**0.5, (1 - abar_s) ** 0.5
        x0 = (x - sigma_t * predict(x, i)) / alpha_t
        h = math.log(alpha_s / alpha_t * sigma_t / sigma_s) if sigma_s else math.inf
        is_first_order = i == 0 or h == math.inf
        D = x0 if is_first_order else x0 + h / (2 * h_before) * (x0 - x0_before)
        kept = sigma_s / sigma_t * (math.exp(-h) if is_sde else 1.0)
        x = kept * x - alpha_s * math.expm1(-k * h) * D
        if is_sde:
            x = x + sigma_s * (-math.expm1(-2 * h)) ** 0.5 * fresh()
        x0_before, h_before = x0, h
    return x


#: Name -> sampler; all take one network evaluation a step.
SAMPLERS: dict[str, Callable[..., Tensor]] = {
    "ddim": ddim,
    "ancestral": ancestral,
    "dpm-solver": dpm_solver,
    "dpm-solver-sde": partial(dpm_solver, is_sde=True),
}


def sample(
    model: DiffusionModel,
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    negative_prompts: Sequence[str] | None = None,
    guidance_scale: float | None = None,
    num_inference_steps: int | None = None,
    sampler: str | None = None,
    guidance_interval: tuple[float, float] = (0.0, 1.0),
    guidance_rescale: float = 0.0,
    progress: Progress | None = None,
) -> Tensor:
    """Whole films from prompts.

    Args:
        model: from :func:`synthorax.diffusion.load_model`.
        prompts: one a film.
        seeds: one a film; a film depends on its own prompt and seed, not on its neighbours.
        negative_prompts: what guidance pushes away from, one a film; None = the empty prompt.
        guidance_scale: 1 is none; more obeys the prompt more, and loses variety. Default: the model's own.
        num_inference_steps: network evaluations; twice as many films a step with guidance. Default: the model's own.
        sampler: one of :data:`SAMPLERS`. Default: the model's own.
        guidance_interval: see :func:`guided_noise`.
        guidance_rescale: see :func:`guided_noise`.
        progress: called after each step.

    Returns:
        float32 ``(N, H, W)`` in [0, 1].

    Raises:
        InputError: an unknown sampler, or more steps than the model has.
    """
    own = model.sample_settings
    w = own["guidance_scale"] if guidance_scale is None else guidance_scale
    name = sampler or own["sampler"]
    if name not in SAMPLERS:
        raise unknown_choice("sampler", name, SAMPLERS)
    steps = timesteps(model, num_inference_steps or own["num_inference_steps"])
    abar = [float(model.alphas_cumprod[t]) for t in steps] + [1.0]
    conditional = model.encode_text(prompts)
    unconditional = model.encode_text(negative_prompts or [""] * len(prompts), like=conditional)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def fresh() -> Tensor:
        return torch.stack([torch.randn(model.latent_shape, generator=own) for own in generators]).to(
            model.device
        )

    def predict(x: Tensor, i: int) -> Tensor:
        t = steps[i].repeat(len(x)).to(x.device)
        eps = guided_noise(
            model, x, t, conditional, unconditional, w, interval=guidance_interval, rescale=guidance_rescale
        )
        if progress:
            progress(len(x))
        return eps

    return model.decode(SAMPLERS[name](predict, fresh(), abar, fresh))
