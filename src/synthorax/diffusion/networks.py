"""The small networks of the embedded model, all diffusers' and transformers' own classes."""

import re
import string
from collections import Counter
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict

TEXT_TOKENS = 64


class AutoencoderShape(BaseModel):
    """A deep-compression autoencoder (Chen et al. 2025): pixel-unshuffle stem, so nothing runs at full size."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    widths: tuple[int, ...] = (16, 16, 64, 128, 128)
    encoder_layers: tuple[int, ...] = (0, 1, 1, 1, 1)
    decoder_layers: tuple[int, ...] = (0, 1, 1, 1, 1)
    latent_channels: int = 16


class UNetShape(BaseModel):
    """A U-Net with cross-attention to the prompt below its first level.

    The prompt's pooled embedding is added to the timestep's as well, unless the text encoder is a published one: with few
    films, that is learned sooner.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    widths: tuple[int, ...] = (96, 144, 144)
    layers: int = 1
    text_width: int = 128
    text_layers: int = 3


class TransformerShape(BaseModel):
    """A diffusion transformer with cross-attention to the prompt; the defaults are ChexGen's DiT-XL/2."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    layers: int = 28
    heads: int = 16
    head_width: int = 72
    patch: int = 2
    text_tokens: int = 120


def autoencoder(shape: AutoencoderShape, scaling_factor: float = 1.0) -> Any:
    """diffusers' AutoencoderDC for one grey channel, downsampling by 2 to the power of len(widths) - 1."""
    from diffusers import AutoencoderDC

    levels = len(shape.widths)
    return AutoencoderDC(
        in_channels=1,
        latent_channels=shape.latent_channels,
        encoder_block_out_channels=shape.widths,
        decoder_block_out_channels=shape.widths,
        encoder_layers_per_block=shape.encoder_layers,
        decoder_layers_per_block=shape.decoder_layers,
        encoder_qkv_multiscales=((),) * levels,
        decoder_qkv_multiscales=((),) * levels,
        scaling_factor=scaling_factor,
    )


def transformer(shape: TransformerShape, text_width: int, latent_channels: int, latent_size: int) -> Any:
    """diffusers' PixArtTransformer2DModel for square latents. It predicts the noise and no variance."""
    from diffusers import PixArtTransformer2DModel

    return PixArtTransformer2DModel(
        num_attention_heads=shape.heads,
        attention_head_dim=shape.head_width,
        in_channels=latent_channels,
        out_channels=latent_channels,
        num_layers=shape.layers,
        cross_attention_dim=shape.heads * shape.head_width,
        caption_channels=text_width,
        sample_size=latent_size,
        patch_size=shape.patch,
        interpolation_scale=1,
        use_additional_conditions=False,
    )


def unet(shape: UNetShape, latent_channels: int, latent_size: int, is_pooled: bool = True) -> Any:
    """diffusers' UNet2DConditionModel for square latents; ``is_pooled``: the pooled prompt is added to the timestep."""
    from diffusers import UNet2DConditionModel

    deep = len(shape.widths) - 1
    return UNet2DConditionModel(
        sample_size=latent_size,
        in_channels=latent_channels,
        out_channels=latent_channels,
        down_block_types=("DownBlock2D",) + ("CrossAttnDownBlock2D",) * deep,
        mid_block_type="UNetMidBlock2DCrossAttn",
        up_block_types=("CrossAttnUpBlock2D",) * deep + ("UpBlock2D",),
        block_out_channels=shape.widths,
        layers_per_block=shape.layers,
        cross_attention_dim=shape.text_width,
        addition_embed_type="text" if is_pooled else None,
        addition_embed_type_num_heads=max(1, shape.text_width // 32),
        attention_head_dim=tuple(max(1, width // 32) for width in shape.widths),
        norm_num_groups=16,
    )


def tokenizer(captions: Iterable[str]) -> Any:
    """A WordPiece tokenizer whose vocabulary is the captions' words, most frequent first, and the characters.

    Trained vocabularies (BPE) break ties by chance; this one is the same for the same captions.
    """
    from transformers import BertTokenizer

    counts = Counter(word for text in captions for word in re.findall(r"[a-z]+", text.lower()))
    characters = string.ascii_lowercase + string.digits + string.punctuation
    words = [word for word, _ in sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))]
    pieces = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *characters,
        *(f"##{c}" for c in characters),
        *words,
    ]
    return BertTokenizer(
        {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}, model_max_length=TEXT_TOKENS
    )


def text_encoder(shape: UNetShape, tokenizer: Any) -> Any:
    """A CLIP text transformer, trained together with the U-Net."""
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.text_width,
        intermediate_size=4 * shape.text_width,
        num_hidden_layers=shape.text_layers,
        num_attention_heads=max(1, shape.text_width // 32),
        max_position_embeddings=TEXT_TOKENS,
        bos_token_id=tokenizer.bos_token_id or tokenizer.cls_token_id,
        eos_token_id=tokenizer.eos_token_id or tokenizer.sep_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)
