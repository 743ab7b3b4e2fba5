"""One convention for every latent diffusion model; the adapters to a pipeline's own conventions are here.

Inside: films are float32 ``(N, H, W)`` in [0, 1]; latents are float32 with unit variance; the network's
output is a prediction of the noise epsilon. A pipeline's range [-1, 1], its channel count, its
``scaling_factor``, the kind of its autoencoder and its ``prediction_type`` never leave this file; what a diffusion
transformer in the place of the U-Net wants otherwise is in ``transformer.py``.
"""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from synthorax import bfloat16
from synthorax.classifiers.latents import encode
from synthorax.diffusion import hub, transformer
from synthorax.diffusion.control import Control
from synthorax.diffusion.published import card_of_repo
from synthorax.errors import ModelError

log = logging.getLogger(__name__)
EMBEDDED = Path(__file__).parent / "embedded"
#: The network is a ``unet`` or a ``transformer``.
COMPONENTS = ("vae", "text_encoder", "tokenizer", "unet", "scheduler")


@dataclass(frozen=True, eq=False)
class DiffusionModel:
    """A text-conditioned latent diffusion model.

    Attributes:
        pipeline: the ``diffusers`` pipeline whose components are used.
        model_id: the folder's name or the repo id.
        model_revision: the repo's revision, where there is one.
        model_sha256: checksum over the weights; None for one that is in training.
        dtype: what the network computes in; latents stay float32.
        card: the folder's ``card.json``: ``notes`` for whoever sees its films, ``domains`` (see :meth:`domain`),
            ``edit`` (see :attr:`edit_settings`), ``sample`` (see :attr:`sample_settings`), ``wording`` (``taught``: prompts
            are brought into the words of its captions, see :mod:`.wording`).
        null_text: a transformer's learned text that stands for no prompt, ``(tokens, width)``.
        control: a ControlNet, see :func:`synthorax.diffusion.control.with_control`.
        condition: what it is given, see :meth:`annotated`.
    """

    pipeline: Any
    model_id: str
    model_revision: str | None
    model_sha256: str | None
    dtype: torch.dtype
    card: Mapping[str, Any] = field(default_factory=dict)
    null_text: Tensor | None = None
    control: Control | None = None
    condition: Tensor | None = None

    @property
    def network(self) -> Any:
        """The U-Net or the transformer."""
        return getattr(self.pipeline, "unet", None) or self.pipeline.transformer

    @property
    def edit_settings(self) -> dict[str, Any]:
        """``guidance_scale, num_inference_steps, skip`` for edits: the card's ``edit``, else RadEdit's model card."""
        return self.card.get("edit", {"guidance_scale": 7.5, "num_inference_steps": 100, "skip": 0.3})

    @property
    def sample_settings(self) -> dict[str, Any]:
        """``guidance_scale, num_inference_steps, sampler`` for whole films: the card's ``sample`` over ours."""
        return {"guidance_scale": 3.0, "num_inference_steps": 30, "sampler": "ddim"} | self.card.get(
            "sample", {}
        )

    def domain(self, is_simulated: bool) -> str:
        """The words that the model's captions put before a kind of film; empty for a model that has none."""
        return self.card.get("domains", {}).get("simulated" if is_simulated else "real", "")

    @property
    def device(self) -> torch.device:
        return self.network.device

    @cached_property
    def alphas_cumprod(self) -> Tensor:
        """abar_t for t = 0 .. T-1, float64."""
        return self.pipeline.scheduler.alphas_cumprod.double()

    @property
    def prediction_type(self) -> str:
        return self.pipeline.scheduler.config.prediction_type

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        config = self.network.config
        return config.in_channels, config.sample_size, config.sample_size

    @property
    def image_size(self) -> int:
        """Height and width of the films, in pixels."""
        return self.latent_shape[1] * self.pipeline.vae_scale_factor

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Films to latents, without sampling.

        Args:
            images: float32 ``(N, H, W)`` in [0, 1], H and W equal to ``image_size``; ``(N, 3, H, W)`` for an autoencoder
                of colours.

        Returns:
            float32 ``(N, C, h, w)``, scaled to unit variance.
        """
        size = (self.image_size, self.image_size)
        if images.shape[1:] not in (size, (3, *size)):
            raise ModelError(
                f"films have shape {tuple(images.shape)}; {self.model_id} takes (N, {self.image_size}, {self.image_size}). "
                "Bring them to that size with studies.prepare."
            )
        return encode(self.pipeline.vae, images.to(self.device))

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Latents to films: float32 ``(N, C, h, w)`` to float32 ``(N, H, W)``, clipped to [0, 1]."""
        vae = self.pipeline.vae
        x = vae.decode((latents / vae.config.scaling_factor + self._shift).to(vae.dtype)).sample
        return (x.float().mean(1) / 2 + 0.5).clamp(0, 1)

    @property
    def _shift(self) -> float:
        return getattr(self.pipeline.vae.config, "shift_factor", None) or 0.0

    @torch.no_grad()
    def encode_text(self, prompts: Sequence[str], *, like: Tensor | None = None) -> Tensor:
        """Prompts to embeddings ``(N, tokens, width)``, by the pipeline's own rule for length and mask.

        A prompt of more tokens than the model reads is named in the log.

        Args:
            prompts: one an item; the empty prompt is what guidance pushes away from.
            like: embeddings whose counterparts these are. Of use to a transformer alone: its learned text for
                the empty prompt takes as many tokens as its counterpart has, else all.
        """
        if self.null_text is not None:
            return transformer.encode_text(self.pipeline, prompts, self.null_text.to(self.device), like)
        if self.card.get("wording") == "taught":
            from synthorax.diffusion.wording import in_taught_words, words_of

            prompts = [in_taught_words(text, words_of(self.pipeline.tokenizer)) for text in prompts]
        with quiet():  # diffusers would print the padding of every shorter prompt as lost
            _log_long(prompts, self.pipeline.tokenizer)
            return self.pipeline.encode_prompt(list(prompts), self.device, 1, False)[0]

    def annotated(self, pictures: np.ndarray) -> "DiffusionModel":
        """The model as it follows these annotations, uint8 ``(N, H, W, 3)``, one a film of the batches it is given."""
        if self.control is None:
            raise ModelError(f"{self.model_id} has no ControlNet; add one with with_control.")
        return replace(self, condition=self.control.condition(self, pictures))

    @torch.no_grad()
    def predict_noise(self, x_t: Tensor, t: Tensor, embeddings: Tensor) -> Tensor:
        """epsilon_theta(x_t, t, c).

        Args:
            x_t: noisy latents, float32 ``(N, C, h, w)``.
            t: timesteps, int64 ``(N,)`` in [0, T).
            embeddings: from :meth:`encode_text`, ``(N, tokens, width)``.

        Returns:
            float32 ``(N, C, h, w)``. Identical for an item in another batch up to the rounding of ``dtype``.
        """
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            if self.null_text is not None:
                output = transformer.predict(self.network, x_t, t, embeddings)
            else:
                more = {}
                if self.control is not None and self.condition is not None:
                    more = self.control.residuals(x_t, t, embeddings, self.condition)
                output = self.network(x_t, t, encoder_hidden_states=embeddings, return_dict=False, **more)[0]
        output = output.float()
        if self.prediction_type == "epsilon":
            return output
        # v = sqrt(abar) eps - sqrt(1 - abar) x0  =>  eps = sqrt(abar) v + sqrt(1 - abar) x_t
        abar = self.alphas_cumprod[t.cpu()].to(x_t)[:, None, None, None]
        return abar.sqrt() * output + (1 - abar).sqrt() * x_t


def load_model(
    name: str | Path | None = None, *, device: str = "cpu", dtype: str = "auto", revision: str | None = None
) -> DiffusionModel:
    """Load the embedded default, a pipeline folder, or a repo id.

    Only safetensors are read and no remote code is run.

    Args:
        name: a folder or a Hugging Face repo id, with ``@revision`` behind it or not; None is the embedded default.
        device: a torch device.
        dtype: ``float32``, ``bfloat16``, ``float16``, or ``auto`` (bfloat16 where the device multiplies it fast).
        revision: a repo's revision; a commit's hash keeps the weights the same for ever.

    Raises:
        ModelError: nothing there, a component missing, or a kind of prediction that is not known.
    """
    from diffusers import DiffusionPipeline

    folder = EMBEDDED if name is None else Path(name)
    if not folder.is_dir():
        name, named = with_revision(str(name))
        revision = revision or named
        folder = hub.pipeline_folder(name, revision)
    is_transformer = _check_index(folder)
    # T5 in float32 would take 19 GB; its publishers run it in bfloat16.
    dtypes = {"default": torch.float32} | ({"text_encoder": torch.bfloat16} if is_transformer else {})
    no_checker = {} if is_transformer else {"safety_checker": None, "requires_safety_checker": False}
    try:
        with quiet():
            pipeline = DiffusionPipeline.from_pretrained(
                folder, use_safetensors=True, dtype=dtypes, local_files_only=True, **no_checker
            )
    except (OSError, ValueError) as error:
        raise ModelError(f"{name or folder} cannot be loaded: {str(error).splitlines()[0]}") from error
    for part in COMPONENTS:
        if getattr(pipeline, _named(part, is_transformer), None) is None:
            raise ModelError(f"{name or folder} has no {part!r}; a model needs {', '.join(COMPONENTS)}.")
    prediction = pipeline.scheduler.config.prediction_type
    if prediction not in ("epsilon", "v_prediction"):
        raise ModelError(f"{name or folder} predicts {prediction!r}; expected epsilon or v_prediction.")
    pipeline.set_progress_bar_config(disable=True)
    pipeline.to(device)
    for part in ("vae", "text_encoder", "unet"):
        getattr(pipeline, _named(part, is_transformer)).eval().requires_grad_(False)
    if not is_transformer:
        pipeline.unet.to(memory_format=torch.channels_last)
    return DiffusionModel(
        pipeline=pipeline,
        model_id="synthorax-embedded" if name is None else str(name),
        model_revision=revision,
        model_sha256=weights_sha256(folder),
        dtype=compute_dtype(device, dtype),
        card=_card(folder, str(name)),
        null_text=transformer.null_text(folder) if is_transformer else None,
    )


def _named(part: str, is_transformer: bool) -> str:
    return "transformer" if is_transformer and part == "unet" else part


def _check_index(folder: Path) -> bool:
    """Whether the pipeline of the folder has a transformer; refuses one that lacks a part."""
    index = folder / "model_index.json"
    if not index.is_file():
        raise ModelError(
            f"{folder} has no model_index.json; expected a diffusers pipeline folder with {', '.join(COMPONENTS)}. "
            "'synthorax models convert' makes one of published parts."
        )
    parts = json.loads(index.read_text())
    is_transformer = "transformer" in parts
    missing = [part for part in COMPONENTS if _named(part, is_transformer) not in parts]
    if missing:
        raise ModelError(f"{index} names no {missing[0]!r}; a model needs {', '.join(COMPONENTS)}.")
    return is_transformer


def _card(folder: Path, name: str) -> dict[str, Any]:
    """The folder's card, or the one that we keep of a repo that has none."""
    path = folder / "card.json"
    return json.loads(path.read_text()) if path.is_file() else card_of_repo(name)


def with_revision(name: str) -> tuple[str, str | None]:
    """``owner/name@revision`` in its two parts."""
    repo, _, revision = name.partition("@")
    return repo, revision or None


def _log_long(prompts: Sequence[str], tokenizer: Any) -> None:
    most = tokenizer.model_max_length
    for prompt in dict.fromkeys(prompts):
        if (n := len(tokenizer(prompt).input_ids)) > most:
            log.warning(
                "The prompt '%s...' has %d tokens, of which the model reads %d.", prompt[:60], n, most
            )


@contextmanager
def quiet() -> Iterator[None]:
    """No loading bars, and no word about the one config key that the embedded autoencoder has more."""
    from diffusers.utils import logging as of_diffusers
    from transformers.utils import logging as of_transformers

    before = [
        (log, log.get_verbosity(), log.is_progress_bar_enabled()) for log in (of_diffusers, of_transformers)
    ]
    for log, *_ in before:
        log.set_verbosity_error()
        log.disable_progress_bar()
    try:
        yield
    finally:
        for log, verbosity, has_bars in before:
            log.set_verbosity(verbosity)
            if has_bars:
                log.enable_progress_bar()


def compute_dtype(device: str, dtype: str = "auto") -> torch.dtype:
    """The dtype of a network's products: as named, or the fastest that the device has in hardware."""
    if dtype != "auto":
        named = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
        if dtype not in named:
            raise ModelError(f"dtype is {dtype!r}; expected auto, {', '.join(named)}.")
        return named[dtype]
    slow = torch.float16 if device.startswith("cuda") else torch.float32
    return torch.bfloat16 if bfloat16.is_fast(device) else slow


def weights_sha256(folder: Path) -> str:
    """SHA-256 over the names and contents of a folder's safetensors, in order."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")):
        digest.update(path.relative_to(folder).as_posix().encode())
        with path.open("rb") as file:
            while block := file.read(1 << 24):
                digest.update(block)
    return digest.hexdigest()
