"""ChexGen's checkpoints to diffusers' ``PixArtTransformer2DModel``, and its text encoder.

Key names and equations: era-ai-biomed/ChexGen, ``radiffuser/models/{dit,block,embedder}.py`` (e576c477).
"""

import math
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from synthorax.errors import ModelError

#: Hidden width -> heads, of DiT's S, B, L and XL.
HEADS = {384: 6, 768: 12, 1024: 16, 1152: 16}
#: ChexGen's key -> PixArt's, outside the blocks.
OUTSIDE = {
    "x_embedder.proj": "pos_embed.proj",
    "t_embedder.mlp.0": "adaln_single.emb.timestep_embedder.linear_1",
    "t_embedder.mlp.2": "adaln_single.emb.timestep_embedder.linear_2",
    "t_block.1": "adaln_single.linear",
    "y_embedder.y_proj.fc1": "caption_projection.linear_1",
    "y_embedder.y_proj.fc2": "caption_projection.linear_2",
    "final_layer.linear": "proj_out",
}
#: The same inside ``blocks.N``; a fused matrix has several targets.
INSIDE = {
    "attn.qkv": ("attn1.to_q", "attn1.to_k", "attn1.to_v"),
    "attn.proj": ("attn1.to_out.0",),
    "cross_attn.q_linear": ("attn2.to_q",),
    "cross_attn.kv_linear": ("attn2.to_k", "attn2.to_v"),
    "cross_attn.proj": ("attn2.to_out.0",),
    "mlp.fc1": ("ff.net.0.proj",),
    "mlp.fc2": ("ff.net.2",),
}


def load_transformer(checkpoint: Path) -> tuple[Any, Tensor]:
    """A ``.pth`` file, read without running anything in it, to the transformer and its text for no prompt.

    Raises:
        ModelError: no such checkpoint, or another network's.
    """
    try:
        state = torch.load(checkpoint, weights_only=True, map_location="cpu", mmap=True)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise ModelError(
            f"{checkpoint} is no checkpoint that can be read safely: {str(error).splitlines()[0]}"
        ) from error
    if "state_dict_ema" not in state:
        found = ", ".join(map(str, list(state)[:4]))
        raise ModelError(
            f"{checkpoint} has no 'state_dict_ema' (it has {found}); expected ChexGen's .pth as released."
        )
    weights = {key.removeprefix("module."): value.float() for key, value in state["state_dict_ema"].items()}
    return from_weights(weights, str(checkpoint))


def from_weights(weights: dict[str, Tensor], where: str) -> tuple[Any, Tensor]:
    """ChexGen's averaged weights to the transformer and its text for no prompt, float32 ``(tokens, width)``."""
    from diffusers import PixArtTransformer2DModel

    mapped, null_text, positions = map_keys(weights, where)
    shape = _shape(weights, where)
    network = PixArtTransformer2DModel(**shape)
    try:
        network.load_state_dict(mapped, strict=True)
    except RuntimeError as error:
        raise ModelError(f"{where} is of another layout: {str(error).splitlines()[1].strip()}") from error
    # The positions are no weights: the table of sines must be the one that the published one was made of.
    if not torch.allclose(network.pos_embed.pos_embed, positions, atol=1e-4):
        raise ModelError(
            f"{where} has another table of positions than sines at scale {shape['interpolation_scale']}."
        )
    return network, null_text


def map_keys(weights: dict[str, Tensor], where: str) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """ChexGen's weights under PixArt's names; the text for no prompt; the table of positions.

    Raises:
        ModelError: a key that the published network does not have, or one missing.
    """
    mapped: dict[str, Tensor] = {}
    try:
        null_text, positions = weights["y_embedder.y_embedding"], weights["pos_embed"]
        mapped["scale_shift_table"] = weights["final_layer.shift_scale_table"]
    except KeyError as error:
        raise ModelError(f"{where} has no {error}; expected ChexGen's network.") from error
    for key, value in weights.items():
        if key in ("y_embedder.y_embedding", "pos_embed", "final_layer.shift_scale_table"):
            continue
        name, _, kind = key.rpartition(".")
        block = key.split(".")[1] if key.startswith("blocks.") else ""
        inside = name.removeprefix(f"blocks.{block}.")
        if name in OUTSIDE:
            mapped[f"{OUTSIDE[name]}.{kind}"] = value
        elif block and kind == "shift_scale_gate_table":
            mapped[f"transformer_blocks.{block}.scale_shift_table"] = value
        elif block and inside in INSIDE:
            targets = INSIDE[inside]
            for target, piece in zip(targets, value.chunk(len(targets)), strict=True):
                mapped[f"transformer_blocks.{block}.{target}.{kind}"] = piece
        else:
            raise ModelError(f"{where} holds {key!r}, which ChexGen's text-to-image network does not have.")
    return mapped, null_text, positions


def _shape(weights: dict[str, Tensor], where: str) -> dict[str, Any]:
    """The transformer's arguments, read off the weights."""
    width, channels, patch = weights["x_embedder.proj.weight"].shape[:3]
    if width not in HEADS:
        raise ModelError(f"{where} has blocks {width} wide; expected one of {', '.join(map(str, HEADS))}.")
    positions = weights["pos_embed"]
    return {
        "num_attention_heads": HEADS[width],
        "attention_head_dim": width // HEADS[width],
        "in_channels": channels,
        "out_channels": weights["final_layer.linear.weight"].shape[0] // patch**2,
        "num_layers": 1 + max(int(key.split(".")[1]) for key in weights if key.startswith("blocks.")),
        "cross_attention_dim": width,
        "caption_channels": weights["y_embedder.y_proj.fc1.weight"].shape[1],
        "sample_size": math.isqrt(positions.shape[1]) * patch,
        "patch_size": patch,
        # The first sine of the second place is sin(1 / scale).
        "interpolation_scale": round(1 / math.asin(float(positions[0, 1, 0])), 4),
        "use_additional_conditions": False,
    }


def load_text(folder: Path) -> tuple[Any, Any]:
    """T5's encoder (bfloat16, as its users run it) and tokenizer, from the published folder.

    Raises:
        ModelError: another layout.
    """
    from transformers import T5EncoderModel, T5Tokenizer

    for name in ("config.json", "spiece.model"):
        if not (folder / name).is_file():
            raise ModelError(f"{folder} has no {name}; expected T5 v1.1's folder as published.")
    try:
        encoder, report = T5EncoderModel.from_pretrained(
            folder, dtype=torch.bfloat16, local_files_only=True, output_loading_info=True
        )
        tokenizer = T5Tokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"{folder} cannot be read: {str(error).splitlines()[0]}") from error
    if report["missing_keys"]:
        raise ModelError(f"{folder} lacks {sorted(report['missing_keys'])[0]!r}; expected T5 v1.1's weights.")
    return encoder, tokenizer
