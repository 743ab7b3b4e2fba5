"""Train the text-conditioned latent diffusion model and write it as a diffusers pipeline.

| variable | symbol | meaning |
| --- | --- | --- |
| x0 | x_0 | latents of a film, unit variance |
| abar | abar_t | product of 1 - beta up to t |
| v | v | sqrt(abar) eps - sqrt(1 - abar) x0 (Salimans & Ho 2022) |
| snr | SNR(t) | abar / (1 - abar); the loss has weight min(SNR, gamma) / (SNR + 1) (Hang et al. 2023) |
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from synthorax.dataset import write_png
from synthorax.diffusion.captions import REAL, VIRTUAL, Caption, captions, choose, domain, without_withheld
from synthorax.diffusion.checkpoints import Trainer
from synthorax.diffusion.films import Films, FilmsConfig, gather
from synthorax.diffusion.model import DiffusionModel, compute_dtype
from synthorax.diffusion.networks import UNetShape, text_encoder, tokenizer, unet
from synthorax.diffusion.sampling import sample
from synthorax.diffusion.train_text import train_text
from synthorax.errors import ModelError
from synthorax.files import atomic
from synthorax.progress import track
from synthorax.seeds import derive_seed, generator

#: Prompts of the picture drawn at each checkpoint, each from its own seed.
PREVIEW = (
    "No findings.",
    "Left effusion.",
    "Right pneumothorax.",
    "Enlarged heart.",
    "Right consolidation.",
    "Left mass.",
)


#: Settings for edits that a trained model's card begins with.
EDIT = {"guidance_scale": 2.5, "num_inference_steps": 25, "skip": 0.2}


class DiffusionConfig(BaseModel):
    """Settings of one training; ``recipes/embedded-diffusion.yaml`` holds the shipped model's.

    Attributes:
        condition_dropout: share of captions that are dropped: half to the empty prompt, half to the film's domain,
            either of which guidance can then push away from.
        snr_gamma: the loss's weight stops growing at this signal-to-noise ratio.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    films: FilmsConfig = FilmsConfig()
    shape: UNetShape = UNetShape()
    steps: int = 8000
    batch_size: int = 16
    lr: float = 4e-4
    warmup: int = 200
    ema: float = 0.999
    condition_dropout: float = 0.1
    snr_gamma: float = 5.0
    checkpoint_every: int = 250
    preview_every: int = 1000
    seed: int = 0


def scheduler() -> Any:
    """RadEdit's sampling scheduler (linear betas, trailing spacing), with prediction of v."""
    from diffusers import DDIMScheduler

    return DDIMScheduler(
        beta_schedule="linear", clip_sample=False, prediction_type="v_prediction", timestep_spacing="trailing", steps_offset=1
    )  # fmt: skip


def train_diffusion(config: DiffusionConfig, manifests: Sequence[Path], vae: Path, out: Path) -> Path:
    """Train, or go on training, and write ``out/pipeline`` (a diffusers pipeline folder, fp16 safetensors).

    Args:
        config: settings.
        manifests: ``studies.parquet`` files.
        vae: a trained autoencoder's folder.
        out: the run folder: checkpoint, log, previews, caches, result.

    Returns:
        the folder ``out/pipeline``.
    """
    from diffusers import AutoencoderDC

    if not (vae / "config.json").is_file():
        raise ModelError(
            f"{vae} is no autoencoder; train one with `synthorax train autoencoder` and give its vae folder."
        )
    autoencoder = AutoencoderDC.from_pretrained(vae).eval()
    films = gather(manifests, config.films, out / "films")
    latents = _latents(films, autoencoder, out / "films" / "latents.npy")
    said = captions(manifests)
    films = without_withheld(films, said)
    if not (out / "tokenizer").is_dir():
        corpus = {text for choices in said.values() for text, _ in choices} | {REAL, VIRTUAL}
        tokenizer(sorted(corpus)).save_pretrained(out / "tokenizer")
    words = _words(out)
    torch.manual_seed(derive_seed("diffusion", config.seed))
    nets = _networks(config, words, latents.shape[1], latents.shape[2])
    nets["text"].requires_grad_(False)
    if not (out / "state.pt").is_file():
        train_text(nets["text"], words, said, config.seed)
    trainer = Trainer(
        nets,
        out,
        config_json=config.model_dump_json(),
        steps=config.steps,
        lr=config.lr,
        warmup=config.warmup,
        ema=config.ema,
    )
    noise_schedule = scheduler()
    dtype = compute_dtype("cpu")
    nets.train()
    for step in track(range(trainer.step, config.steps), "Training the diffusion model", unit="steps"):
        rng = generator("diffusion", config.seed, step)
        index = films.draw(rng, config.batch_size, config.films)
        texts = [
            _text(said[films.image_ids[i]], films.is_real(i), rng, config.condition_dropout) for i in index
        ]
        loss = _loss(
            nets, words, latents[index], texts, rng, noise_schedule.alphas_cumprod, config.snr_gamma, dtype
        )
        norm = trainer.update(loss)
        if trainer.step % 50 == 0:
            trainer.log(loss=loss.item(), gradient_norm=norm)
        if trainer.step % config.checkpoint_every == 0:
            trainer.save()
        if trainer.step % config.preview_every == 0 and trainer.step < config.steps:
            weights = {name: p.detach().clone() for name, p in nets.named_parameters()}
            preview(
                _model(trainer.averaged(), words, autoencoder, dtype), out / f"preview-{trainer.step:06d}.png"
            )
            nets.load_state_dict(weights, strict=False)
            nets.train()
    trainer.save()
    preview(_model(trainer.averaged(), words, autoencoder, dtype), out / "preview.png")
    return export_pipeline(out, vae, out / "pipeline")


def export_pipeline(run: Path, vae: Path, out: Path) -> Path:
    """Write the averaged weights of a training's newest checkpoint as a diffusers pipeline.

    Args:
        run: the training's folder; the training may still go on.
        vae: the autoencoder's folder.
        out: where to; fp16 safetensors.

    Raises:
        ModelError: no checkpoint there.
    """
    from diffusers import AutoencoderDC

    if not (run / "state.pt").is_file():
        raise ModelError(f"{run} has no state.pt; expected the folder of a diffusion training.")
    state = torch.load(run / "state.pt", weights_only=True)
    config = DiffusionConfig.model_validate_json(state["config"])
    autoencoder = AutoencoderDC.from_pretrained(vae).eval()
    shape = autoencoder.config
    latent_size = config.films.size // 2 ** (len(shape.encoder_block_out_channels) - 1)
    words = _words(run)
    nets = _networks(config, words, shape.latent_channels, latent_size)
    nets.load_state_dict(state["module"])
    nets.load_state_dict(state["average"], strict=False)
    pipeline = _model(nets.eval(), words, autoencoder, torch.float32).pipeline
    pipeline.to(dtype=torch.float16).save_pretrained(out)
    for path in out.glob("*/config.json"):  # where the parts were loaded from is this machine's
        entries = json.loads(path.read_text())
        entries.pop("_name_or_path", None)
        path.write_text(json.dumps(entries, indent=2) + "\n")
    card = {"domains": {"simulated": VIRTUAL, "real": REAL}, "edit": EDIT, "notes": []}
    if (out / "card.json").is_file():  # what people wrote there stays
        card |= json.loads((out / "card.json").read_text())
    (out / "card.json").write_text(json.dumps(card, indent=1) + "\n")
    return out


def _words(run: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(run / "tokenizer")


def _networks(config: DiffusionConfig, words: Any, latent_channels: int, latent_size: int) -> nn.ModuleDict:
    from diffusers.models.attention_processor import AttnProcessor

    net = unet(config.shape, latent_channels, latent_size).to(memory_format=torch.channels_last)
    net.set_attn_processor(
        AttnProcessor()
    )  # on a CPU, plain products train a seventh faster than the fused kernel
    return nn.ModuleDict({"unet": net, "text": text_encoder(config.shape, words)})


def _text(choices: Sequence[Caption], is_real: bool, rng: np.random.Generator, dropout: float) -> str:
    """A caption; dropped at times, half of these times down to its domain, the other half to nothing."""
    chance = rng.random()
    if chance < dropout / 2:
        return ""
    return domain(is_real) if chance < dropout else choose(choices, is_real, rng)[0]


def _loss(nets: nn.ModuleDict, words: Any, x0: np.ndarray, texts: list[str], rng: np.random.Generator, alphas_cumprod: Tensor, gamma: float, dtype: torch.dtype) -> Tensor:  # fmt: skip
    x0 = torch.from_numpy(x0.astype(np.float32))
    chance = torch.Generator().manual_seed(int(rng.integers(2**62)))
    t = torch.randint(len(alphas_cumprod), (len(x0),), generator=chance)
    eps = torch.randn(x0.shape, generator=chance)
    abar = alphas_cumprod[t][:, None, None, None]
    x_t = (abar.sqrt() * x0 + (1 - abar).sqrt() * eps).contiguous(memory_format=torch.channels_last)
    v = abar.sqrt() * eps - (1 - abar).sqrt() * x0
    tokens = words(
        texts, padding="max_length", truncation=True, max_length=words.model_max_length, return_tensors="pt"
    )
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        embeddings = nets["text"](tokens.input_ids)[0]
        predicted = nets["unet"](x_t, t, encoder_hidden_states=embeddings, return_dict=False)[0].float()
    snr = abar / (1 - abar)
    return (snr.clamp(max=gamma) / (snr + 1) * (predicted - v).square()).mean()


@torch.no_grad()
def _latents(films: Films, vae: Any, path: Path) -> np.ndarray:
    """Latents of all films, fp16 ``(N, C, h, w)``, encoded once."""
    stamp = path.parent / "films.parquet"
    if not path.is_file() or path.stat().st_mtime < stamp.stat().st_mtime:
        batches = np.array_split(np.arange(len(films.pixels)), max(1, len(films.pixels) // 32))
        rows, dtype = [], compute_dtype("cpu")
        for batch in track(batches, "Encoding films", unit="x 32 films"):
            x = torch.from_numpy(films.pixels[batch].astype(np.float32) / 127.5 - 1)[:, None]
            with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
                z = vae.encode(x.contiguous(memory_format=torch.channels_last)).latent
            rows.append((z.float() * vae.config.scaling_factor).numpy().astype(np.float16))
        with atomic(path) as temporary:
            np.save(temporary, np.concatenate(rows))
    return np.load(path)


def _model(nets: nn.ModuleDict, words: Any, vae: Any, dtype: torch.dtype) -> DiffusionModel:
    from diffusers import StableDiffusionPipeline

    # The pipeline counts the autoencoder's levels by this key, which AutoencoderDC calls otherwise.
    vae.register_to_config(block_out_channels=list(vae.config.encoder_block_out_channels))
    pipeline = StableDiffusionPipeline(
        vae=vae, text_encoder=nets["text"], tokenizer=words, unet=nets["unet"], scheduler=scheduler(),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    return DiffusionModel(pipeline, "in-training", None, None, dtype)


def preview(model: DiffusionModel, path: Path) -> None:
    """A sheet of samples: a column a prompt, two rows of virtual patients and two of real films."""
    kinds = [kind for kind in (VIRTUAL, VIRTUAL, REAL, REAL) for _ in PREVIEW]
    prompts = [f"{kind} {text}" for kind, text in zip(kinds, PREVIEW * 4, strict=True)]
    films = sample(
        model, prompts, range(len(prompts)), negative_prompts=kinds, num_inference_steps=25
    ).numpy()
    size = films.shape[-1]
    sheet = (
        films.reshape(4, len(PREVIEW), size, size)
        .transpose(0, 2, 1, 3)
        .reshape(4 * size, len(PREVIEW) * size)
    )
    write_png(sheet, path, Synthetic="YES")
