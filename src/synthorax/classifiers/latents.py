"""Latents: films as an autoencoder writes them, stored once, which a classifier reads in place of pixels.

After MedVAE (Varma et al. 2025, arXiv 2502.14753), with any autoencoder in diffusers' layout. The store holds one
safetensors file a film, named by the autoencoder's weights, the film's size there and the film's bytes: whatever is
there already is read, so a stopped encoding goes on, and two cohorts may share a store.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import synthorax
from synthorax.classifiers.loading import Films, load_films
from synthorax.errors import InputError, ModelError
from synthorax.files import atomic, sha256_of
from synthorax.progress import track

if TYPE_CHECKING:
    import torch

EMBEDDED = "embedded"
#: Below the folder of a manifest, where no other is named.
STORE = "latents"
#: Of diffusers.
KINDS = ("AutoencoderKL", "AutoencoderDC", "AutoencoderTiny")
_AT_ONCE = 32


@dataclass(frozen=True, eq=False)
class Autoencoder:
    """A frozen encoder; ``name`` is what opened it, ``sha256`` that of its weights' file."""

    name: str
    network: Any
    sha256: str
    device: str = "cpu"

    def encode(self, films: np.ndarray) -> np.ndarray:
        """Films ``(N, S, S)`` uint8 to latents ``(N, C, h, w)`` float16, of about unit variance."""
        import torch

        with torch.inference_mode():
            return (
                encode(self.network, torch.from_numpy(films).to(self.device).float() / 255)
                .cpu()
                .numpy()
                .astype(np.float16)
            )


def encode(autoencoder: Any, images: "torch.Tensor") -> "torch.Tensor":
    """Films to latents by an autoencoder of diffusers, without sampling, scaled as its config says.

    Args:
        autoencoder: an ``AutoencoderKL``, ``AutoencoderDC`` or ``AutoencoderTiny``.
        images: ``(N, H, W)``, or ``(N, C, H, W)`` of as many channels as it takes, in [0, 1].

    Returns:
        float32 ``(N, C, h, w)``.
    """
    config = autoencoder.config
    x = images.to(autoencoder.dtype) * 2 - 1
    x = x if x.ndim == 4 else x[:, None].expand(-1, config.in_channels, -1, -1)
    encoded = autoencoder.encode(x)
    for name in ("latent", "latents"):  # AutoencoderDC, AutoencoderTiny
        if hasattr(encoded, name):
            z = getattr(encoded, name)
            break
    else:  # AutoencoderKL
        z = encoded.latent_dist.mode()
    return ((z - (getattr(config, "shift_factor", None) or 0.0)) * config.scaling_factor).float()


def open_autoencoder(where: Path | str, device: str = "cpu") -> Autoencoder:
    """An autoencoder by where it is; nothing is fetched and no pickle is opened.

    Args:
        where: ``embedded`` for the shipped model's, the folder of one in diffusers' layout (``config.json`` and one
            safetensors file), or a pipeline's folder, whose ``vae`` it is.
        device: a torch device.

    Raises:
        ModelError: none there, or in a layout that is not read.
    """
    import diffusers

    folder = Path(where)
    if str(where) == EMBEDDED:
        folder = Path(synthorax.__file__).parent / "diffusion" / EMBEDDED
    if (folder / "vae" / "config.json").is_file():
        folder = folder / "vae"
    if not (folder / "config.json").is_file():
        pickles = sorted(folder.glob("*.ckpt")) if folder.is_dir() else [folder] * (folder.suffix == ".ckpt")
        if pickles:
            raise ModelError(
                f"{pickles[0]} is a pickled checkpoint; only diffusers' layout (config.json and safetensors) is read. MedVAE's "
                "become such by 'synthorax models convert medvae --part checkpoint=FILE --out FOLDER'."
            )
        raise ModelError(f"{where} holds no autoencoder: expected 'embedded' or a folder with config.json and a safetensors file, as diffusers saves.")  # fmt: skip
    kind = json.loads((folder / "config.json").read_text()).get("_class_name", "")
    if kind not in KINDS:
        raise ModelError(f"{folder / 'config.json'} is a {kind or 'file without _class_name'}; expected one of {', '.join(KINDS)}.")  # fmt: skip
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise ModelError(f"{folder} has no safetensors file; save the autoencoder again with diffusers.")
    log = diffusers.utils.logging
    before = log.get_verbosity()
    log.set_verbosity_error()  # the embedded one has a config key more than its class knows
    try:
        network = getattr(diffusers, kind).from_pretrained(
            folder, use_safetensors=True, local_files_only=True
        )
    finally:
        log.set_verbosity(before)
    return Autoencoder(str(where), network.float().eval().requires_grad_(False).to(device), sha256_of(weights[0]), device)  # fmt: skip


def are_latents(films: Films) -> bool:
    """Whether what was given is latents ``(N, C, h, w)`` already."""
    return isinstance(films, np.ndarray) and films.ndim == 4


def latents_of(
    films: Films, autoencoder: Autoencoder, image_size_px: int, store: Path | str | None = None
) -> np.ndarray:
    """Latents ``(N, C, h, w)`` float16; of films by path those that the store has are read, the others added to it.

    Args:
        films: as :func:`~.loading.load_films` takes them, or latents, which are returned as they are.
        autoencoder: from :func:`open_autoencoder`.
        image_size_px: side of the films before they are encoded.
        store: a folder; None stores nothing.

    Raises:
        InputError: a film cannot be read, or a stored file is not what it should be.
    """
    if are_latents(films):
        return films  # type: ignore[return-value]
    if isinstance(films, np.ndarray) or store is None:
        starts = range(0, len(films), _AT_ONCE)
        return np.concatenate([autoencoder.encode(load_films(films[i : i + _AT_ONCE], image_size_px)) for i in starts])  # fmt: skip
    folder = Path(store) / f"{autoencoder.sha256[:16]}-{image_size_px}px"
    files = [folder / f"{sha256_of(film)}.safetensors" for film in films]
    missing = {file: film for file, film in zip(files, films, strict=True) if not file.is_file()}
    _add(missing, autoencoder, image_size_px)
    return np.stack([_read(file) for file in files])


def _add(missing: dict[Path, Path | str], autoencoder: Autoencoder, size: int) -> None:
    from safetensors.numpy import save_file

    todo: Sequence[tuple[Path, Path | str]] = list(missing.items())
    for start in track(range(0, len(todo), _AT_ONCE), "Encoding films", unit=f"x {_AT_ONCE} films"):
        some = todo[start : start + _AT_ONCE]
        for (file, _), z in zip(some, autoencoder.encode(load_films([film for _, film in some], size)), strict=True):  # fmt: skip
            with atomic(file) as temporary:
                save_file({"latents": z}, temporary, metadata={"autoencoder_sha256": autoencoder.sha256})


def _read(file: Path) -> np.ndarray:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(file)["latents"]
    except (SafetensorError, KeyError) as error:
        raise InputError(f"{file} is no stored latents ({error}). Remove it; it is made again.") from error
