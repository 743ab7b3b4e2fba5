"""MedVAE's checkpoints to diffusers' ``AutoencoderKL``: latent diffusion's autoencoder, for some with low-rank updates.

Key names: StanfordMIMI/MedVAE, ``medvae/models/autoencoder_kl.py`` and ``medvae/utils/lora.py`` (27f165f). An update's
``lora_up`` times ``lora_down`` is added to the ``conv`` beside it, at scale 1. ``channel_ds`` and ``channel_proj``, a
further projection of the latents that nothing decodes, are left out: latents are the posterior's mode.
"""

import pickle
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from synthorax.errors import ModelError

_LEFT_OUT = ("channel_ds.", "channel_proj.", "loss.")


def load_autoencoder(checkpoint: Path) -> Any:
    """A ``.ckpt`` file, or the folder that holds it, read without running anything in it.

    Raises:
        ModelError: none there, one that cannot be read safely, or another network's.
    """
    found = [checkpoint] if checkpoint.is_file() else sorted(checkpoint.rglob("*.ckpt"))
    if len(found) != 1:
        raise ModelError(f"{checkpoint} holds {len(found)} .ckpt files; name one.")
    try:
        state = torch.load(found[0], weights_only=True, map_location="cpu")
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise ModelError(
            f"{found[0]} is no checkpoint that can be read safely: {str(error).splitlines()[0]}"
        ) from error
    state = state.get("state_dict", state) if isinstance(state, dict) else {}
    weights = {key: value for key, value in state.items() if not key.startswith(_LEFT_OUT)}
    return from_weights(weights, str(found[0]))


def from_weights(weights: dict[str, Tensor], where: str) -> Any:
    """MedVAE's weights to an ``AutoencoderKL``, scaling factor 1."""
    from diffusers import AutoencoderKL
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

    weights = merged(weights)
    config = _shape(weights, where)
    network = AutoencoderKL(**config)
    mapped = convert_ldm_vae_checkpoint(weights, config)
    try:
        network.load_state_dict(mapped, strict=True)
    except RuntimeError as error:
        raise ModelError(f"{where} is of another layout: {str(error).splitlines()[1].strip()}") from error
    return network


def merged(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights with their low-rank updates added: a ``k x k`` convolution to few channels, then a ``1 x 1`` back."""
    found = {key: value.float() for key, value in weights.items()}
    for key in [key for key in found if key.endswith(".lora_down.weight")]:
        name = key.removesuffix(".lora_down.weight")
        down, up = found.pop(key), found.pop(f"{name}.lora_up.weight")
        update = torch.einsum("or,rikl->oikl", up[:, :, 0, 0], down)
        found[f"{name}.weight"] = found.pop(f"{name}.conv.weight") + update
        if f"{name}.conv.bias" in found:
            found[f"{name}.bias"] = found.pop(f"{name}.conv.bias")
    return found


def _shape(weights: dict[str, Tensor], where: str) -> dict[str, Any]:
    """The autoencoder's arguments, read off the weights."""
    try:
        n_levels = 1 + max(int(m[1]) for m in map(re.compile(r"encoder\.down\.(\d+)\.").match, weights) if m)
        widths = [weights[f"encoder.down.{i}.block.0.norm2.weight"].shape[0] for i in range(n_levels)]
        layers = 1 + max(
            int(m[1]) for m in map(re.compile(r"encoder\.down\.0\.block\.(\d+)\.").match, weights) if m
        )
        latents, wide = (
            weights["post_quant_conv.weight"].shape[1],
            weights["encoder.conv_out.weight"].shape[0] // 2,
        )
        n_in, n_out = weights["encoder.conv_in.weight"].shape[1], weights["decoder.conv_out.weight"].shape[0]
    except (KeyError, ValueError) as error:
        raise ModelError(f"{where} has no {error}; expected MedVAE's two-dimensional autoencoder.") from error
    if latents != wide:
        raise ModelError(
            f"{where} has latents of {latents} channels and an encoder of {wide}; expected the same number."
        )
    return {
        "in_channels": n_in,
        "out_channels": n_out,
        "down_block_types": ("DownEncoderBlock2D",) * n_levels,
        "up_block_types": ("UpDecoderBlock2D",) * n_levels,
        "block_out_channels": tuple(widths),
        "layers_per_block": layers,
        "latent_channels": latents,
        "scaling_factor": 1.0,
        "mid_block_add_attention": "encoder.mid.attn_1.q.weight" in weights,
    }
