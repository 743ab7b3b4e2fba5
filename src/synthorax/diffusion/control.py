"""ControlNet (Zhang et al. 2023): an annotation's picture steers a frozen network through zero-initialised convolutions.

ChexGen's way (Ji et al. 2025, equation c = E(anns)): the picture goes through the autoencoder, and its latents enter. A grey
autoencoder sees the three colour planes one after the other. A ControlNet whose conditioning embedding shrinks pixels
itself (most published ones) gets the pixels; its config says which.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from synthorax.diffusion.annotations import RGB
from synthorax.errors import ModelError

if TYPE_CHECKING:
    from synthorax.diffusion.model import DiffusionModel

#: Width of the convolution that latents enter by.
LATENT_WIDTH = 128


@dataclass(frozen=True, eq=False)
class Control:
    """A loaded ControlNet.

    Attributes:
        net: diffusers' ControlNetModel.
        takes_latents: whether the picture enters through the autoencoder.
        sha256: of its weights; None while it is trained.
        is_guiding: whether guidance pushes away from the film without annotation (diffusers' ``guess_mode``), so that it
            strengthens the annotation too, not the prompt alone; ``is_guiding`` of the card, where there is one.
    """

    net: Any
    takes_latents: bool
    sha256: str | None = None
    is_guiding: bool = False

    def condition(self, model: "DiffusionModel", pictures: np.ndarray) -> Tensor:
        """What enters the net: uint8 ``(N, H, W, 3)`` to float32, latents ``(N, 3C or C, h, w)`` or pixels in [0, 1]."""
        pixels = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 255
        if not self.takes_latents:
            return pixels.to(model.device)
        if model.pipeline.vae.config.in_channels == 3:
            return model.encode(pixels)
        planes, which = torch.unique(pixels.flatten(0, 1), dim=0, return_inverse=True)  # many are black
        return model.encode(planes)[which].unflatten(0, (-1, 3)).flatten(1, 2)

    def added_to(self, model: "DiffusionModel") -> "DiffusionModel":
        return replace(model, control=self)

    def residuals(self, x_t: Tensor, t: Tensor, embeddings: Tensor, condition: Tensor) -> dict[str, Any]:
        """What is added to the U-Net's skips and middle, as its arguments.

        Args:
            x_t: noisy latents ``(N, C, h, w)``.
            t: timesteps ``(N,)``.
            embeddings: of the prompts.
            condition: from :meth:`condition`, N rows or a divisor of N, then repeated.
        """
        n, more = len(condition), len(x_t) // len(condition) - 1
        if self.is_guiding and more:
            own = self.residuals(x_t[:n], t[:n], embeddings[:n], condition)
            return {
                "down_block_additional_residuals": [_with_zeros(part, more) for part in own["down_block_additional_residuals"]],
                "mid_block_additional_residual": _with_zeros(own["mid_block_additional_residual"], more),
            }  # fmt: skip
        cond = condition.repeat(1 + more, 1, 1, 1)
        down, mid = self.net(
            x_t, t, encoder_hidden_states=embeddings, controlnet_cond=cond, return_dict=False
        )
        return {"down_block_additional_residuals": down, "mid_block_additional_residual": mid}


def _with_zeros(part: Tensor, more: int) -> Tensor:
    return torch.cat([part, *[torch.zeros_like(part)] * more])


def new_control(model: "DiffusionModel") -> Control:
    """A ControlNet that begins with the U-Net's weights and changes nothing yet."""
    from diffusers import ControlNetModel

    planes = 1 if model.pipeline.vae.config.in_channels == 3 else 3
    copied = ControlNetModel.from_unet(
        model.network,
        conditioning_embedding_out_channels=(LATENT_WIDTH,),  # one width: no convolution that shrinks
        conditioning_channels=planes * model.latent_shape[0],
    )
    # from_unet forgets how many heads pool the prompt.
    settings = {key: value for key, value in copied.config.items() if not key.startswith("_")}
    settings["addition_embed_type_num_heads"] = model.network.config.addition_embed_type_num_heads
    net = ControlNetModel(**settings)
    net.load_state_dict(copied.state_dict())
    return Control(net.to(model.device, memory_format=torch.channels_last), takes_latents=True)


def read_card(folder: Path) -> dict[str, Any]:
    """A control folder's ``card.json``; empty for one of others.

    Raises:
        ModelError: no ControlNet there.
    """
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"{folder} has no config.json; expected the folder of a diffusers ControlNet, such as OUT/control of "
            "'synthorax train control'."
        )
    path = folder / "card.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def classes_of(card: Mapping[str, Any]) -> dict[str, RGB] | None:
    """Class -> colour; None where the card does not say, so that everything is white."""
    classes = card.get("classes")
    return None if classes is None else {name: (rgb[0], rgb[1], rgb[2]) for name, rgb in classes.items()}


def with_control(model: "DiffusionModel", folder: Path) -> "DiffusionModel":
    """The model with a ControlNet of its shape.

    Raises:
        ModelError: no ControlNet there, or one that does not fit the model.
    """
    from diffusers import ControlNetModel

    from synthorax.diffusion.model import quiet, weights_sha256

    card = read_card(folder)
    if model.null_text is not None:
        raise ModelError(f"{model.model_id} is a diffusion transformer; control needs a model with a U-Net.")
    try:
        with quiet():
            net = ControlNetModel.from_pretrained(folder, use_safetensors=True, local_files_only=True)
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(
            f"{folder} cannot be loaded as a ControlNet: {str(error).splitlines()[0]}"
        ) from error
    _check_fits(net, model, folder)
    net = net.to(model.device, torch.float32, memory_format=torch.channels_last).eval().requires_grad_(False)
    takes_latents = len(net.config.conditioning_embedding_out_channels) == 1
    is_guiding = bool(card.get("is_guiding", False))
    return Control(net, takes_latents, weights_sha256(folder), is_guiding).added_to(model)


def _check_fits(net: Any, model: "DiffusionModel", folder: Path) -> None:
    for key in ("in_channels", "block_out_channels", "layers_per_block", "cross_attention_dim"):
        one, two = (getattr(part.config, key) for part in (net, model.network))
        if (list(one) if isinstance(one, tuple | list) else one) != (
            list(two) if isinstance(two, tuple | list) else two
        ):
            raise ModelError(
                f"{folder} has {key} {one}, {model.model_id} {two}; take the model that it was trained on."
            )
    shrinks = 2 ** (len(net.config.conditioning_embedding_out_channels) - 1)
    if shrinks not in (1, model.pipeline.vae_scale_factor):
        raise ModelError(
            f"{folder} makes pictures {shrinks} times smaller, {model.model_id}'s latents are "
            f"{model.pipeline.vae_scale_factor} times smaller than its films; take the model that it was trained on."
        )
