"""A diffusion transformer (PixArt's blocks, ChexGen's model) asked like a U-Net.

It wants a mask of the prompt's tokens, has a learned text for the empty prompt, and predicts a variance as well.
So that all of this stays here, tokens that only fill up are rows of zeros, from which the mask is found again, and
the variance is cut off.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from synthorax.errors import ModelError

NULL_TEXT = "null_text.safetensors"


def null_text(folder: Path) -> Tensor:
    """The learned embedding of the empty prompt, float32 ``(tokens, width)``.

    Raises:
        ModelError: the folder has none.
    """
    from safetensors.torch import load_file

    path = folder / NULL_TEXT
    if not path.is_file():
        raise ModelError(
            f"{folder} has a transformer and no {NULL_TEXT}; make the folder with 'synthorax models convert chexgen'."
        )
    return load_file(path)["null_text"].float()


def encode_text(pipeline: Any, prompts: Sequence[str], null: Tensor, like: Tensor | None = None) -> Tensor:
    """Prompts to ``(N, tokens, width)`` float32 with zeros after a prompt's last token; an empty one gives ``null``.

    ChexGen's release cuts ``null`` to as many tokens as the prompt beside it has: ``like`` are those prompts'
    embeddings. Prompts are cleaned as in training (lower case, brackets and slashes to spaces), which ``ftfy`` and
    ``beautifulsoup4`` are needed for.
    """
    from diffusers.utils import is_bs4_available, is_ftfy_available

    if not (is_bs4_available() and is_ftfy_available()):
        raise ModelError(
            "a transformer's prompts are cleaned by ftfy and beautifulsoup4, which are not installed; "
            "install them with: pip install 'synthorax[chexgen]'."
        )
    text, mask, *_ = pipeline.encode_prompt(
        list(prompts), False, device=null.device, clean_caption=True, max_sequence_length=len(null)
    )
    embeddings = text.float() * mask[..., None]
    for i, prompt in enumerate(prompts):
        if not prompt.strip():
            embeddings[i] = null if like is None else null * _is_token(like[i])[:, None]
    return embeddings


def _is_token(embeddings: Tensor) -> Tensor:
    return (embeddings != 0).any(-1)


def predict(network: Any, x_t: Tensor, t: Tensor, embeddings: Tensor) -> Tensor:
    """The noise epsilon, ``(N, C, h, w)``: the first half of the output's channels if the variance is the other."""
    output = network(
        x_t,
        encoder_hidden_states=embeddings,
        timestep=t,
        encoder_attention_mask=_is_token(embeddings).to(x_t.dtype),
        added_cond_kwargs={"resolution": None, "aspect_ratio": None},
        return_dict=False,
    )[0]
    return output[:, : x_t.shape[1]]
