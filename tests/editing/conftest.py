"""A diffusion model whose answers are known in closed form, and a tiny real one in diffusers' form."""

import math
from itertools import pairwise
from types import MappingProxyType

import numpy as np
import pytest
import torch
from torch.nn import functional

torch.set_num_threads(1)


class GaussianModel:
    """Latents are N(mu_c, s^2 I), mu_c being the prompt's embedding: the exact E[eps | x_t, c] is a line.

    They are the film's pixels, ``2 x - 1``, sorted into cells of ``cell`` x ``cell`` pixels
    (pixel-unshuffle): encode and decode are each other's inverse.
    """

    prediction_type = "epsilon"
    means = MappingProxyType({"": 0.0, "No findings.": -0.1, "Left effusion.": 0.2, "Enlarged heart.": 0.05})

    def __init__(self, image_size: int = 32, cell: int = 4, spread: float = 0.3) -> None:
        self.image_size, self.cell, self.spread = image_size, cell, spread
        self.latent_shape = (cell * cell, image_size // cell, image_size // cell)
        betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
        self.alphas_cumprod = torch.cumprod(1 - betas, 0)
        self.n_calls = self.n_rows = 0

    edit_settings = {}  # noqa: RUF012

    def domain(self, is_simulated):
        return ""

    def encode(self, images):
        return functional.pixel_unshuffle(images[:, None] * 2 - 1, self.cell)

    def decode(self, latents):
        return functional.pixel_shuffle(latents, self.cell)[:, 0] / 2 + 0.5

    def encode_text(self, prompts):
        return torch.tensor([self.means[prompt] for prompt in prompts])[:, None, None]

    def predict_noise(self, x_t, t, embeddings):
        self.n_calls, self.n_rows = self.n_calls + 1, self.n_rows + len(x_t)
        abar = self.alphas_cumprod[t][:, None, None, None]
        slope = (1 - abar).sqrt() / (abar * self.spread**2 + 1 - abar)
        return slope.to(x_t) * (x_t - abar.sqrt().to(x_t) * embeddings[..., None])

    def posterior(self, timesteps):
        """DDPM's own algebra, step by step: E[x_{t-1}] = c0 E[x0 | x_t] + c1 x_t with standard deviation d,
        and E[x0 | x_t] = mu + g (x_t - sqrt(abar) mu)."""
        levels = [float(self.alphas_cumprod[t]) for t in timesteps] + [1.0]
        for abar, prev in pairwise(levels):
            alpha = abar / prev
            c0 = math.sqrt(prev) * (1 - alpha) / (1 - abar)
            c1 = math.sqrt(alpha) * (1 - prev) / (1 - abar)
            g = self.spread**2 * math.sqrt(abar) / (abar * self.spread**2 + 1 - abar)
            d = math.sqrt((1 - prev) / (1 - abar) * (1 - alpha))
            yield abar, c0, c1, g, d

    def edited_shift(self, timesteps, shift: float) -> float:
        """How far an edit moves x0 if its mean lies ``shift`` above the inversion's."""
        moved = 0.0
        for abar, c0, c1, g, _ in self.posterior(timesteps):
            moved = c0 * (shift + g * (moved - math.sqrt(abar) * shift)) + c1 * moved
        return moved

    def sampled_spread(self, timesteps) -> float:
        """Standard deviation of what ancestral sampling gives with so many steps, from pure noise."""
        variance = 1.0
        for _, c0, c1, g, d in self.posterior(timesteps):
            variance = (c0 * g + c1) ** 2 * variance + d**2
        return math.sqrt(variance)


@pytest.fixture
def gaussian():
    return GaussianModel()


@pytest.fixture
def films():
    rng = np.random.default_rng(0)
    return rng.uniform(0.3, 0.6, (3, 32, 32)).astype(np.float32)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """An untrained pipeline of the embedded model's own kinds of network, saved and loaded as a folder."""
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline

    from synthorax.diffusion import load_model, networks

    torch.manual_seed(0)
    shape = networks.UNetShape(widths=(32, 64), text_width=32, text_layers=1)
    vae = AutoencoderKL(
        in_channels=1,
        out_channels=1,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(8, 8, 16),
        norm_num_groups=4,
        sample_size=32,
    )
    tokenizer = networks.tokenizer(["Left effusion.", "Enlarged heart.", "No findings."])
    folder = tmp_path_factory.mktemp("tiny")
    StableDiffusionPipeline(
        vae=vae,
        text_encoder=networks.text_encoder(shape, tokenizer),
        tokenizer=tokenizer,
        unet=networks.unet(shape, 4, 8),
        scheduler=DDIMScheduler(
            beta_schedule="linear", clip_sample=False, timestep_spacing="trailing", steps_offset=1
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return load_model(folder, dtype="float32")
