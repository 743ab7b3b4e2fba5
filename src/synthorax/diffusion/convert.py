"""Published models, once, to the pipeline folder that :func:`synthorax.diffusion.load_model` reads.

The folder is diffusers' own form, all safetensors, with a ``card.json``: default settings, source, licence, notes.
Older weights (``.bin``, ``.pth``) are read here alone, by torch's ``weights_only`` reader, which runs nothing in them.
"""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synthorax.diffusion import biovil, chexgen, medvae
from synthorax.diffusion.hub import snapshot
from synthorax.diffusion.published import card_of, published_model
from synthorax.errors import InputError, ModelError, unknown_choice


def fetch(
    name: str, out: Path, parts: Mapping[str, Path] | None = None, revisions: Mapping[str, str] | None = None
) -> Path:
    """Download a known model's parts to the hub's cache and convert them.

    Args:
        name: see ``published.yaml``.
        out: the folder to write.
        parts: parts at hand, which are not downloaded.
        revisions: part -> branch, tag or commit.

    Raises:
        InputError: an unknown model or part.
        ModelError: gated, out of reach, or of another layout.
    """
    wanted, found = published_model(name).parts, dict(parts or {})
    for part in [*found, *(revisions or {})]:
        if part not in wanted:
            raise unknown_choice(f"part of {name}", part, wanted)
    for part, where in wanted.items():
        if part not in found and where.repo is None:
            raise InputError(f"{name}'s {part} is not on the hub: {where.how} by --part {part}=PATH.")
    for part, where in wanted.items():
        if part not in found and where.repo is not None:
            found[part] = snapshot(where.repo, where.files, (revisions or {}).get(part))
    return convert(name, found, out)


def convert(name: str, parts: Mapping[str, Path], out: Path) -> Path:
    """Write a known model as a pipeline folder.

    Args:
        name: see ``published.yaml``.
        parts: part -> its folder or file, laid out as published.
        out: the folder to write; it appears whole or not at all.

    Raises:
        InputError: an unknown model, a part missing or unknown, or ``out`` is there already.
        ModelError: a part of another layout than published.
    """
    wanted = published_model(name).parts
    for part in parts:
        if part not in wanted:
            raise unknown_choice(f"part of {name}", part, wanted)
    missing = [part for part in wanted if part not in parts]
    if missing:
        raise InputError(f"{name} needs {', '.join(wanted)}; give --part {missing[0]}=PATH as well.")
    for part, path in parts.items():
        if not path.exists():
            raise InputError(f"{part}={path} does not exist.")
    if out.exists():
        raise InputError(f"{out} exists already; give another --out.")
    unfinished = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        from synthorax.diffusion.model import quiet

        with quiet():
            _LAYOUTS[published_model(name).layout](parts, unfinished)
        (unfinished / "card.json").write_text(json.dumps(card_of(name), indent=1, ensure_ascii=False) + "\n")
        unfinished.rename(out)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return out


def load_part(kind: Any, folder: Path, name: str) -> Any:
    """A diffusers network from ``folder/name``, or from ``folder`` itself; every weight must have its place.

    Raises:
        ModelError: no config or weights there, or other weights than the config wants.
    """
    folder = folder / name if (folder / name).is_dir() else folder
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} has no config.json; expected the published folder of the {name}.")
    found = json.loads((folder / "config.json").read_text()).get("_class_name")
    if found != kind.__name__:
        raise ModelError(f"{folder} holds a {found}; expected {kind.__name__}.")
    try:
        network, report = kind.from_pretrained(folder, output_loading_info=True, local_files_only=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"the {name} in {folder} cannot be read: {str(error).splitlines()[0]}") from error
    for what in ("missing_keys", "unexpected_keys"):
        if report[what]:
            raise ModelError(
                f"the weights in {folder} do not fit its config.json: {what.replace('_', ' ')}, "
                f"{len(report[what])} of them, {sorted(report[what])[0]!r} first."
            )
    return network


def _radedit(parts: Mapping[str, Path], out: Path) -> None:
    """RadEdit: a U-Net alone, SDXL's autoencoder, BioViL-T's text encoder (its model card's recipe)."""
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from safetensors.torch import save_file

    text_encoder, tokenizer, projection = biovil.load_text(parts["text"])
    unet = load_part(UNet2DConditionModel, parts["unet"], "unet")
    vae = load_part(AutoencoderKL, parts["vae"], "vae")
    _check_widths(unet, vae, text_encoder.config.hidden_size)
    StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=DDIMScheduler(
            beta_schedule="linear",
            clip_sample=False,
            prediction_type="epsilon",
            timestep_spacing="trailing",
            steps_offset=1,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(out)
    save_file(projection, out / biovil.PROJECTION)


def _stable_diffusion(parts: Mapping[str, Path], out: Path) -> None:
    """RoentGen and its like: a whole Stable Diffusion pipeline, without its safety checker."""
    from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel

    folder = parts["pipeline"]
    if not (folder / "model_index.json").is_file():
        raise ModelError(
            f"{folder} has no model_index.json; expected a Stable Diffusion pipeline as published."
        )
    unet, vae = load_part(UNet2DConditionModel, folder, "unet"), load_part(AutoencoderKL, folder, "vae")
    try:
        pipeline = StableDiffusionPipeline.from_pretrained(
            folder, unet=unet, vae=vae, safety_checker=None, feature_extractor=None, requires_safety_checker=False,
            local_files_only=True,
        )  # fmt: skip
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder} cannot be read: {str(error).splitlines()[0]}") from error
    _check_widths(unet, vae, pipeline.text_encoder.config.hidden_size)
    pipeline.save_pretrained(out)


def _chexgen(parts: Mapping[str, Path], out: Path) -> None:
    """ChexGen: its transformer from a checkpoint, Stable Diffusion's autoencoder, T5's encoder."""
    from diffusers import AutoencoderKL, DDIMScheduler, PixArtAlphaPipeline
    from safetensors.torch import save_file

    from synthorax.diffusion.transformer import NULL_TEXT

    network, null_text = chexgen.load_transformer(parts["checkpoint"])
    text_encoder, tokenizer = chexgen.load_text(parts["text"])
    vae = load_part(AutoencoderKL, parts["vae"], "vae")
    _check_widths(network, vae, text_encoder.config.d_model)
    PixArtAlphaPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        transformer=network,
        scheduler=DDIMScheduler(
            beta_start=1e-4,
            beta_end=2e-2,
            beta_schedule="linear",
            clip_sample=False,
            timestep_spacing="trailing",
        ),
    ).save_pretrained(out)
    save_file({"null_text": null_text}, out / NULL_TEXT)


def _medvae(parts: Mapping[str, Path], out: Path) -> None:
    """MedVAE: an autoencoder alone."""
    medvae.load_autoencoder(parts["checkpoint"]).save_pretrained(out / "vae")


_LAYOUTS = {
    "radedit": _radedit,
    "stable-diffusion": _stable_diffusion,
    "chexgen": _chexgen,
    "medvae": _medvae,
}


def _check_widths(network: Any, vae: Any, text_width: int) -> None:
    """That three parts from three places belong together."""
    wanted = network.config.get("caption_channels") or network.config.cross_attention_dim
    if wanted != text_width:
        raise ModelError(f"the network takes text {wanted} wide, and the text encoder gives {text_width}.")
    if network.config.in_channels != vae.config.latent_channels:
        raise ModelError(
            f"the network takes {network.config.in_channels} latent channels, and the autoencoder gives "
            f"{vae.config.latent_channels}."
        )
