"""Models before their training: new networks in the embedded model's form, RadEdit's or ChexGen's, and started ones."""

import json
from pathlib import Path
from typing import Any

import torch

from synthorax.diffusion import biovil, chexgen
from synthorax.diffusion.captions import REAL, VIRTUAL
from synthorax.diffusion.convert import load_part
from synthorax.diffusion.model import DiffusionModel, compute_dtype, load_model
from synthorax.diffusion.networks import TransformerShape, UNetShape, text_encoder, transformer, unet
from synthorax.errors import InputError, ModelError
from synthorax.seeds import derive_seed

#: Settings for edits that a trained model's card begins with.
EDIT = {"guidance_scale": 2.5, "num_inference_steps": 25, "skip": 0.2}


def new_model(
    shape: UNetShape | TransformerShape,
    prediction: str,
    size: int,
    vae: Path | None,
    text: Path | None,
    tokenizer: Path,
    device: torch.device,
    seed: int,
) -> DiffusionModel:
    """New networks on the latents of a trained autoencoder.

    Args:
        shape: of the U-Net or the transformer.
        prediction: ``epsilon`` or ``v_prediction``.
        size: height and width of the films, px.
        vae: folder of an ``AutoencoderDC`` or ``AutoencoderKL``.
        text: folder of a published text encoder (BioViL-T for a U-Net, T5 for a transformer); None makes a small new one.
        tokenizer: folder of the new text encoder's tokenizer.
        device: where to.
        seed: of the text that stands for no prompt, which a transformer learns nothing of (ChexGen's is noise as well).

    Raises:
        ModelError: a part of another layout, or none.
    """
    autoencoder = _autoencoder(vae)
    channels = autoencoder.config.latent_channels
    side = size // 2 ** (len(autoencoder.config.block_out_channels) - 1)
    parts = {"vae": autoencoder, "scheduler": scheduler(prediction)}
    card: dict[str, Any] = {"domains": {"simulated": VIRTUAL, "real": REAL}, "edit": EDIT, "notes": []}
    null_text = None
    if isinstance(shape, TransformerShape):
        from diffusers import PixArtAlphaPipeline

        if text is None:
            raise ModelError("a transformer is told by a T5; give its folder with --text.")
        parts["text_encoder"], parts["tokenizer"] = chexgen.load_text(text)
        width = parts["text_encoder"].config.d_model
        noise = torch.Generator().manual_seed(derive_seed("null text", seed))
        null_text = torch.randn(shape.text_tokens, width, generator=noise) / width**0.5
        pipeline = PixArtAlphaPipeline(**parts, transformer=transformer(shape, width, channels, side))
    else:
        from diffusers import StableDiffusionPipeline

        if text is None:
            from transformers import AutoTokenizer

            parts["tokenizer"] = AutoTokenizer.from_pretrained(tokenizer)
            parts["text_encoder"] = text_encoder(shape, parts["tokenizer"])
            card["wording"] = "taught"
        else:
            parts["text_encoder"], parts["tokenizer"], _ = biovil.load_text(text)
            shape = shape.model_copy(update={"text_width": parts["text_encoder"].config.hidden_size})
        net = unet(shape, channels, side, is_pooled=text is None).to(memory_format=torch.channels_last)
        if device.type == "cpu":  # where plain products train a seventh faster than the fused kernel
            from diffusers.models.attention_processor import AttnProcessor

            net.set_attn_processor(AttnProcessor())
        none = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
        pipeline = StableDiffusionPipeline(**parts, unet=net, **none)
    pipeline.set_progress_bar_config(disable=True)
    return DiffusionModel(
        pipeline.to(device), "in-training", None, None, compute_dtype(device.type), card, null_text
    )


def start_model(
    name: str | None, size: int, device: torch.device, takes_transformer: bool = False
) -> DiffusionModel:
    """The model that a training goes on from; None is the embedded one.

    A transformer may be given films of another size: its table of positions is stretched over them, as in ChexGen's second
    stage.

    Raises:
        ModelError: no model there, or one with a transformer where a U-Net is needed.
        InputError: films of another size than a U-Net's.
    """
    model = load_model(name, device=str(device))
    if model.null_text is not None:
        if not takes_transformer:
            raise ModelError(
                f"{name} is a diffusion transformer; this training takes pipelines with a U-Net."
            )
        if model.image_size != size:
            model.pipeline.transformer = _stretched(model.pipeline.transformer, size / model.image_size).to(
                device
            )
    elif model.image_size != size:
        raise InputError(
            f"films.size is {size} px; {model.model_id} takes {model.image_size}. Set films.size so."
        )
    return model


def scheduler(prediction: str) -> Any:
    """The sampling scheduler of RadEdit and, but for its offset, ChexGen: linear betas, trailing spacing."""
    from diffusers import DDIMScheduler

    return DDIMScheduler(
        beta_schedule="linear", clip_sample=False, prediction_type=prediction, timestep_spacing="trailing", steps_offset=1
    )  # fmt: skip


def _stretched(network: Any, factor: float) -> Any:
    """The transformer for latents ``factor`` times as wide, the same positions from edge to edge."""
    from diffusers import PixArtTransformer2DModel

    config = dict(network.config)
    scale = config["interpolation_scale"] or max(config["sample_size"] // 64, 1)
    shape = {"sample_size": round(config["sample_size"] * factor), "interpolation_scale": scale * factor}
    larger = PixArtTransformer2DModel.from_config({**config, **shape})
    weights = {k: v for k, v in network.state_dict().items() if k != "pos_embed.pos_embed"}
    larger.load_state_dict(weights, strict=False)
    return larger.to(network.dtype)


def _autoencoder(vae: Path | None) -> Any:
    import diffusers

    config = vae / "config.json" if vae is not None else None
    if vae is None or config is None or not config.is_file():
        raise ModelError(
            f"{vae} is no autoencoder; train one with `synthorax train autoencoder` and give its vae folder."
        )
    name = json.loads(config.read_text()).get("_class_name")
    if name not in ("AutoencoderDC", "AutoencoderKL"):
        raise ModelError(f"{vae} holds a {name}; expected AutoencoderDC or AutoencoderKL.")
    found = load_part(getattr(diffusers, name), vae, "vae").eval().requires_grad_(False)
    # The pipeline counts the levels by this key, which AutoencoderDC calls otherwise.
    if name == "AutoencoderDC":
        found.register_to_config(block_out_channels=list(found.config.encoder_block_out_channels))
    return found
