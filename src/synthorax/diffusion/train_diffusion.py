"""Train a text-conditioned latent diffusion model, or go on from a published one, and write a diffusers pipeline."""

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from accelerate import PartialState
from pydantic import BaseModel, ConfigDict, Field
from safetensors.torch import save_file
from torch import Tensor, nn

from synthorax.diffusion.captions import REAL, VIRTUAL, Caption, captions, without_withheld
from synthorax.diffusion.checkpoints import Trainer
from synthorax.diffusion.denoising import Embed, denoising_loss, embed, prediction_of, texts_of
from synthorax.diffusion.films import Films, FilmsConfig, gather
from synthorax.diffusion.model import DiffusionModel
from synthorax.diffusion.networks import TransformerShape, UNetShape, tokenizer
from synthorax.diffusion.new_models import new_model, start_model
from synthorax.diffusion.processes import join
from synthorax.diffusion.sampling import sample
from synthorax.diffusion.train_text import train_text
from synthorax.diffusion.transformer import NULL_TEXT
from synthorax.errors import InputError, ModelError
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


class DiffusionConfig(BaseModel):
    """Settings of one training; ``recipes/embedded-diffusion.yaml`` holds the shipped model's.

    Attributes:
        shape: a U-Net's, or a transformer's (key ``layers``, ``heads`` ...), of new networks.
        prediction: ``v_prediction`` or ``epsilon`` of new networks.
        start: a pipeline folder or repo id to go on from (its networks, tokenizer, autoencoder and schedule); None
            trains new networks of ``shape`` on the latents of ``--vae``.
        train_text: train the text encoder of ``start`` too; a new one is taught beforehand and kept, a published one
            (``--text``) is kept.
        lora_rank: train only low-rank updates (Hu et al. 2021) of the attention's matrices; 0 trains all weights.
        accumulate: batches whose gradients make one step.
        condition_dropout: share of captions that are dropped: half to the empty prompt, half to the film's domain,
            either of which guidance can then push away from.
        decay: the rate falls to zero by a cosine; else it stays.
        snr_gamma: the loss's weight stops growing at this signal-to-noise ratio; None weighs all steps alike.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    films: FilmsConfig = FilmsConfig()
    shape: UNetShape | TransformerShape = UNetShape()
    prediction: Literal["v_prediction", "epsilon"] = "v_prediction"
    start: str | None = None
    train_text: bool = False
    lora_rank: int = Field(default=0, ge=0)
    steps: int = 8000
    batch_size: int = 16
    accumulate: int = Field(default=1, ge=1)
    lr: float = 4e-4
    warmup: int = 200
    decay: bool = True
    ema: float = 0.999
    condition_dropout: float = 0.1
    snr_gamma: float | None = 5.0
    checkpoint_every: int = 250
    preview_every: int = 1000
    seed: int = 0


def _check_start(config: DiffusionConfig, vae: Path | None, text: Path | None) -> None:
    if config.start is not None and text is not None:
        raise InputError(f"{config.start} has its own text encoder; leave --text out.")
    if (vae is None) == (config.start is None):
        raise InputError(
            "a training begins either with new networks and --vae, or with the recipe's start (or --start); give one."
        )


def trial_step(
    config: DiffusionConfig, vae: Path | None = None, device: str = "auto", text: Path | None = None
) -> tuple[Callable[[], object], int]:
    """One forward and backward pass of a batch of noise, to be timed, and how many weights a checkpoint holds.

    Raises:
        InputError, ModelError: as :func:`train_diffusion`.
    """
    _check_start(config, vae, text)
    place = join(device, config.batch_size)
    with tempfile.TemporaryDirectory() as run:
        if config.start is None:
            tokenizer(PREVIEW).save_pretrained(Path(run) / "tokenizer")
        model = _begin(config, Path(run), vae, text, place)
    nets = _trained(model, config)
    if config.start is None and "text" in nets:
        nets["text"].requires_grad_(False)
    embedded = _embedding(model)
    rng, predict = generator("trial"), prediction_of(nets["unet"], model.null_text is not None)
    latents = rng.standard_normal((config.batch_size, *model.latent_shape))
    texts = [PREVIEW[i % len(PREVIEW)] for i in range(config.batch_size)]

    def step() -> float:
        loss = denoising_loss(model, predict, embedded, latents, texts, rng, config.snr_gamma)
        loss.backward()
        return loss.item()  # waits for a GPU

    return step, sum(p.numel() for p in nets.parameters())


def train_diffusion(
    config: DiffusionConfig,
    manifests: Sequence[Path],
    out: Path,
    vae: Path | None = None,
    device: str = "auto",
    text: Path | None = None,
) -> Path:
    """Train, or go on training, and write ``out/pipeline`` (a diffusers pipeline folder, fp16 safetensors).

    Args:
        config: settings.
        manifests: ``studies.parquet`` files.
        out: the run folder: checkpoint, log, previews, caches, result.
        vae: a trained autoencoder's folder, for new networks; none where ``config.start`` brings its own.
        text: a published text encoder's folder for new networks: BioViL-T's, or T5's for a transformer.
        device: ``auto`` (a GPU where there is one), ``cpu`` or ``cuda``; a process's own where several were launched.

    Returns:
        the folder ``out/pipeline``.

    Raises:
        InputError: neither or both of ``vae`` and ``config.start``, films of a size that the start's U-Net does not take, no
            such device, or a ``batch_size`` that the processes cannot share equally.
        ModelError: no autoencoder, text encoder or model there.
        RunError: ``out`` holds a checkpoint of another config.
    """
    _check_start(config, vae, text)
    place, processes = join(device, config.batch_size), PartialState()
    said = captions(manifests)
    with processes.main_process_first():
        films = gather(manifests, config.films, out / "films")
        if config.start is None and text is None and not (out / "tokenizer").is_dir():
            corpus = {text for choices in said.values() for text, _ in choices} | {REAL, VIRTUAL}
            tokenizer(sorted(corpus)).save_pretrained(out / "tokenizer")
    torch.manual_seed(derive_seed("diffusion", config.seed))
    model = _begin(config, out, vae, text, place)
    with processes.main_process_first():
        latents = film_latents(films, model, out / "films" / "latents.npy")
        embedded = _embedding(model, out / "films" / "texts.npy", said)
    films = without_withheld(films, said)
    nets, is_new = _trained(model, config), config.start is None and text is None
    if processes.is_main_process and is_new and not (out / "state.pt").is_file():
        train_text(nets["text"], model.pipeline.tokenizer, said, config.seed)
    trainer = Trainer(
        nets,
        out,
        config_json=config.model_dump_json(),
        steps=config.steps,
        lr=config.lr,
        warmup=config.warmup,
        ema=config.ema,
        decay=config.decay,
    )
    predict = prediction_of(nets["unet"], model.null_text is not None)

    def losses(step: int) -> Iterator[Tensor]:
        for part in range(config.accumulate):
            rng = generator("diffusion", config.seed, step, *([part] if part else []))
            index = films.draw(rng, config.batch_size, config.films)
            texts = texts_of(films, index, said, model, rng, config.condition_dropout)
            yield denoising_loss(model, predict, embedded, latents[index], texts, rng, config.snr_gamma)

    trainer.run(
        losses,
        "Training the diffusion model",
        accumulate=config.accumulate,
        checkpoint_every=config.checkpoint_every,
        preview_every=config.preview_every,
        preview=lambda: preview(model),
    )
    if trainer.is_main:
        export_pipeline(out, out / "pipeline", vae, text)
    processes.wait_for_everyone()
    return out / "pipeline"


def export_pipeline(run: Path, out: Path, vae: Path | None = None, text: Path | None = None) -> Path:
    """Write the averaged weights of a training's newest checkpoint as a diffusers pipeline.

    Args:
        run: the training's folder; the training may still go on.
        out: where to; fp16 safetensors. Low-rank updates are added to the weights they change.
        vae, text: the autoencoder's and the text encoder's folder, where the training was given one.

    Raises:
        ModelError: no checkpoint there.
    """
    if not (run / "state.pt").is_file():
        raise ModelError(f"{run} has no state.pt; expected the folder of a diffusion training.")
    state = torch.load(run / "state.pt", map_location="cpu", weights_only=True)
    config = DiffusionConfig.model_validate_json(state["config"])
    if (vae is None) == (config.start is None):
        raise ModelError(
            f"{run} was trained {'from ' + config.start if config.start else 'with a --vae'}; give that."
        )
    model = _begin(config, run, vae, text, torch.device("cpu"))
    nets = _trained(model, config)
    nets.load_state_dict(state["module"])
    nets.load_state_dict(state["average"], strict=False)
    nets.eval()
    return write_pipeline(model, out, bool(config.lora_rank))


def write_pipeline(model: DiffusionModel, out: Path, has_lora: bool) -> Path:
    """A trained model as a pipeline folder (fp16 safetensors), with its card; low-rank updates are added to the weights."""
    pipeline = model.pipeline
    if has_lora:
        pipeline.unet.fuse_lora()
        pipeline.unet.unload_lora()
    for part in ("vae", "unet", "transformer", *(["text_encoder"] if model.null_text is None else [])):
        # T5 in half precision overflows: it stays as it is published.
        if getattr(pipeline, part, None) is not None:
            getattr(pipeline, part).to(torch.float16)
    pipeline.save_pretrained(out)
    if model.null_text is not None:
        save_file({"null_text": model.null_text.cpu()}, out / NULL_TEXT)
    for path in out.glob("*/config.json"):  # where the parts were loaded from is this machine's
        entries = json.loads(path.read_text())
        entries.pop("_name_or_path", None)
        path.write_text(json.dumps(entries, indent=2) + "\n")
    card = dict(model.card)
    if (out / "card.json").is_file():  # what people wrote there stays
        card |= json.loads((out / "card.json").read_text())
    (out / "card.json").write_text(json.dumps(card, indent=1) + "\n")
    return out


def _begin(
    config: DiffusionConfig, run: Path, vae: Path | None, text: Path | None, device: torch.device
) -> DiffusionModel:
    """The model that is trained: that of ``config.start``, or a new one on the autoencoder's latents."""
    size = config.films.size
    if config.start is not None:
        return start_model(config.start, size, device, takes_transformer=True)
    return new_model(config.shape, config.prediction, size, vae, text, run / "tokenizer", device, config.seed)


def _embedding(
    model: DiffusionModel, store: Path | None = None, said: Mapping[str, Sequence[Caption]] | None = None
) -> Embed:
    """Texts to embeddings: by the text encoder, which may be in training, or a transformer's T5, whose answers are kept.

    T5's embeddings of all captions are computed once and kept in ``store``: a megabyte a text for ChexGen's.
    """
    if model.null_text is None:
        return partial(embed, model, model.pipeline.text_encoder)
    if store is None or said is None:
        return model.encode_text
    kinds = {"", *(model.domain(is_simulated) for is_simulated in (True, False))}
    captions = {text for choices in said.values() for text, _ in choices} | {""}
    texts = sorted({f"{kind} {text}".strip() for kind in kinds for text in captions})
    stamp = store.parent / "films.parquet"
    if not store.is_file() or store.stat().st_mtime < stamp.stat().st_mtime:
        with atomic(store) as temporary:
            shape = (len(texts), *model.null_text.shape)
            new = np.lib.format.open_memmap(temporary, "w+", np.float16, shape)
            for i in track(range(0, len(texts), 16), "Embedding texts", unit="x 16 texts"):
                new[i : i + 16] = model.encode_text(texts[i : i + 16]).cpu().numpy()
            new.flush()
    rows, kept = {text: i for i, text in enumerate(texts)}, np.load(store, mmap_mode="r")

    def embedded(some: Sequence[str]) -> Tensor:
        return torch.from_numpy(kept[[rows[text] for text in some]].astype(np.float32)).to(model.device)

    return embedded


def _trained(model: DiffusionModel, config: DiffusionConfig) -> nn.ModuleDict:
    """The model's networks, with gradients where the config trains them."""
    net, text = model.network, model.pipeline.text_encoder
    net.requires_grad_(not config.lora_rank)
    if model.null_text is not None:
        if config.lora_rank or config.train_text:
            raise InputError(
                "a transformer is trained whole and its T5 is kept; set lora_rank to 0 and train_text to false."
            )
        return nn.ModuleDict({"unet": net})
    text.requires_grad_(config.train_text and not config.lora_rank)
    if config.lora_rank:
        add_lora(net, config.lora_rank)
    return nn.ModuleDict({"unet": net, "text": text})


def add_lora(net: nn.Module, rank: int) -> None:
    """Low-rank updates of a U-Net's attention, the only weights with gradients then."""
    try:
        from peft import LoraConfig
    except ImportError as error:
        raise ModelError("lora_rank needs the package peft; pip install 'synthorax[lora]'.") from error
    attention = ["to_q", "to_k", "to_v", "to_out.0"]
    net.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=attention))


@torch.no_grad()
def film_latents(films: Films, model: DiffusionModel, path: Path) -> np.ndarray:
    """Latents of all films, fp16 ``(N, C, h, w)``, encoded once."""
    stamp = path.parent / "films.parquet"
    if not path.is_file() or path.stat().st_mtime < stamp.stat().st_mtime:
        batches = np.array_split(np.arange(len(films.pixels)), max(1, len(films.pixels) // 32))
        rows, kind = [], model.device.type
        for batch in track(batches, "Encoding films", unit="x 32 films"):
            x = torch.from_numpy(films.pixels[batch].astype(np.float32) / 255)
            with torch.autocast(kind, model.dtype, enabled=model.dtype != torch.float32):
                rows.append(model.encode(x).cpu().numpy().astype(np.float16))
        with atomic(path) as temporary:
            np.save(temporary, np.concatenate(rows))
    return np.load(path, mmap_mode="r")


def preview(model: DiffusionModel) -> np.ndarray:
    """A sheet of samples, float32 ``(H, W)`` in [0, 1]: a column a prompt, two rows of virtual patients and two of real films."""
    kinds = [model.domain(is_simulated) for is_simulated in (True, True, False, False) for _ in PREVIEW]
    prompts = [f"{kind} {text}".strip() for kind, text in zip(kinds, PREVIEW * 4, strict=True)]
    films = sample(model, prompts, range(len(prompts)), negative_prompts=kinds, num_inference_steps=25)
    size = films.shape[-1]
    sheet = films.cpu().reshape(4, len(PREVIEW), size, size).transpose(1, 2)
    return sheet.reshape(4 * size, len(PREVIEW) * size).numpy()
