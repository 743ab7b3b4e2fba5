"""Which networks there are: CARS's seven, DenseNet-121, and a small one for two CPU cores. All from timm.

``small`` is timm's ResNet-10-T at half width, grey input, from scratch: 1.2 M parameters, about 6 s a
thousand films of 128 px for one pass of training on one core in bfloat16. The others expect RGB, normalised
as their ImageNet weights were. Nothing here touches the network: weights are a file, or in the local cache.

``latent`` is ``small`` without the stem's two halvings, for latents that are small already (:mod:`~.latents`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthorax.errors import InputError, ModelError, unknown_choice

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Backbone:
    """A network before training.

    ``weights_tag`` names timm's ImageNet-1k weights (None: there are none), ``image_size_px`` the input's
    side by default; CARS names neither. ``n_channels`` 1 = grey, normalised by the training films. ``has_stem``
    False: the first layers do not halve the input twice.
    """

    architecture: str
    weights_tag: str | None = None
    image_size_px: int = 224
    n_channels: int = 3
    options: Mapping[str, Any] = field(default_factory=dict)
    has_stem: bool = True


BACKBONES: Mapping[str, Backbone] = {
    "small": Backbone(
        "resnet10t",
        image_size_px=128,
        n_channels=1,
        options={"channels": (32, 64, 128, 256), "stem_width": 16},
    ),
    # The mean of each feature beside its maximum, which a finding of a few pixels moves.
    "small_peaks": Backbone(
        "resnet10t",
        image_size_px=192,
        n_channels=1,
        options={"channels": (32, 64, 128, 256), "stem_width": 16, "global_pool": "catavgmax"},
    ),
    "latent": Backbone(
        "resnet10t",
        image_size_px=256,
        n_channels=1,
        options={"channels": (32, 64, 128, 256), "stem_width": 16},
        has_stem=False,
    ),
    "convnext_base": Backbone("convnext_base", "fb_in1k"),
    "convnext_small": Backbone("convnext_small", "fb_in1k"),
    "densenet161": Backbone("densenet161", "tv_in1k"),
    "efficientnetv2_s": Backbone("tf_efficientnetv2_s", "in1k"),
    "resnet50": Backbone("resnet50", "tv_in1k"),
    "resnet101": Backbone("resnet101", "tv_in1k"),
    "resnext101": Backbone("resnext101_32x8d", "tv_in1k"),
    "densenet121": Backbone("densenet121", "tv_in1k"),
}
#: The seven of CARS's tables 1 and 2, in their order.
CARS_BACKBONES = (
    "convnext_base",
    "convnext_small",
    "densenet161",
    "efficientnetv2_s",
    "resnet50",
    "resnet101",
    "resnext101",
)


def backbone_named(name: str) -> Backbone:
    """The registry's entry.

    Raises:
        InputError: no such name; the message gives the closest.
    """
    if name not in BACKBONES:
        raise unknown_choice("backbone", name, BACKBONES)
    return BACKBONES[name]


def normalisation(name: str) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and standard deviation per channel that the ImageNet weights expect; None for grey input."""
    import timm

    backbone = backbone_named(name)
    if backbone.n_channels == 1:
        return None
    record = timm.get_pretrained_cfg(f"{backbone.architecture}.{backbone.weights_tag}")
    return tuple(record.mean), tuple(record.std)


def build_network(
    name: str,
    n_outputs: int,
    *,
    seed: int,
    pretrained: bool = False,
    weights: Path | str | None = None,
    n_channels: int | None = None,
) -> "nn.Module":
    """A network with ``n_outputs`` logits; the global random state stays as it was.

    Args:
        name: from :data:`BACKBONES`.
        n_outputs: one a label.
        seed: of the weights that are drawn: all of them, or the head alone.
        pretrained: start from ImageNet weights in the local Hugging Face cache.
        weights: start from this safetensors file of timm's instead.
        n_channels: of the input, where it is not films but latents.

    Raises:
        InputError: no such backbone, or ImageNet weights for latents.
        ModelError: no such weights on this machine, or a file that does not fit.
    """
    import timm
    import torch

    backbone = backbone_named(name)
    if n_channels is not None and (pretrained or weights is not None):
        raise InputError("ImageNet weights are for films, not for latents; set pretrained to false.")
    path = _weights_path(name, backbone, weights) if pretrained or weights is not None else None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = timm.create_model(
            backbone.architecture,
            num_classes=n_outputs,
            in_chans=n_channels or backbone.n_channels,
            **backbone.options,
        )
    if not backbone.has_stem:
        network.conv1[0].stride, network.maxpool = (1, 1), torch.nn.Identity()
    if path is not None:
        _load_weights(network, backbone.architecture, path)
    return network


def has_weights(name: str) -> bool:
    """Whether :func:`build_network` finds ImageNet weights of this backbone on this machine."""
    try:
        _weights_path(name, backbone_named(name), None)
    except ModelError:
        return False
    return True


def _load_weights(network: "nn.Module", architecture: str, path: Path) -> None:
    """Load all weights but the head's; a tensor too few is an error, not a random one."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    head = network.get_classifier()
    heads = {id(x) for x in head.parameters()}
    wanted = {name: x for name, x in network.state_dict(keep_vars=True).items() if id(x) not in heads}
    try:
        found = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{path} is no safetensors file ({error}); expected weights of {architecture}."
        ) from error
    unfit = [
        name
        for name, x in wanted.items()
        if not name.endswith("num_batches_tracked") and (name not in found or found[name].shape != x.shape)
    ]
    if unfit:
        raise ModelError(
            f"{path} does not hold weights of timm's {architecture}: {len(unfit)} of {len(wanted)} tensors are "
            f"missing or of another shape, e.g. {unfit[0]}. Name that model's file, or leave weights out."
        )
    network.load_state_dict({name: found[name] for name in wanted if name in found}, strict=False)


def _weights_path(name: str, backbone: Backbone, weights: Path | str | None) -> Path:
    import timm
    from huggingface_hub import try_to_load_from_cache

    if backbone.weights_tag is None:
        having = ", ".join(other for other, entry in BACKBONES.items() if entry.weights_tag)
        raise ModelError(
            f"backbone {name!r} has no ImageNet weights; it is trained from scratch. "
            f"Set pretrained to false, or take one of {having}."
        )
    if weights is not None:
        if not Path(weights).is_file():
            raise ModelError(
                f"weights file {weights} does not exist; expected a safetensors file of timm's {name}."
            )
        return Path(weights)
    repo_id = timm.get_pretrained_cfg(f"{backbone.architecture}.{backbone.weights_tag}").hf_hub_id
    cached = try_to_load_from_cache(repo_id, "model.safetensors")
    if not isinstance(cached, str):
        raise ModelError(
            f"the ImageNet weights of {name!r} ({repo_id}) are not on this machine. Fetch them by "
            f"`hf download {repo_id} model.safetensors`, name a file by weights, or set pretrained to false."
        )
    return Path(cached)
