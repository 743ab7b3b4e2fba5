"""BioViL-T's text side: a BERT with a projection head, read without the code that its repository ships.

Published keys (microsoft/hi-ml, hi-ml-multimodal, ``CXRBertModel``, a ``BertForMaskedLM``): ``bert.*`` is the encoder,
``cls.*`` predicts masked words (dropped), ``cls_projection_head.*`` maps the first token to the space shared with
images (kept beside the pipeline for RadEdit's editing score).
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from synthorax.errors import ModelError

#: RadEdit's prompts are cut to so many tokens.
TEXT_TOKENS = 128
PROJECTION = "projection_head.safetensors"
_HEAD = "cls_projection_head."


def load_text(folder: Path) -> tuple[Any, Any, dict[str, Tensor]]:
    """The published folder to transformers' own classes.

    Args:
        folder: with ``config.json``, ``vocab.txt`` and ``model.safetensors`` or ``pytorch_model.bin``.

    Returns:
        A ``BertModel`` (its pooler, which nothing published or used has, is zero), a ``BertTokenizer`` for 128
        tokens, and the projection head's weights.

    Raises:
        ModelError: another layout.
    """
    from transformers import BertConfig, BertModel, BertTokenizer

    for name in ("config.json", "vocab.txt"):
        if not (folder / name).is_file():
            raise ModelError(f"{folder} has no {name}; expected BioViL-T's folder as published.")
    known = BertConfig().to_dict()
    published = json.loads((folder / "config.json").read_text())
    config = BertConfig(
        **{key: value for key, value in published.items() if key in known and key != "model_type"}
    )
    config.architectures = ["BertModel"]
    bert, head = split_weights(_read_weights(folder))
    with torch.device("meta"):
        encoder = BertModel(config)
    for name, p in encoder.pooler.state_dict().items():
        bert[f"pooler.{name}"] = torch.zeros(p.shape)
    encoder = BertModel(config)
    _load(encoder, bert, folder)
    tokenizer = BertTokenizer.from_pretrained(folder, model_max_length=TEXT_TOKENS, local_files_only=True)
    if len(tokenizer) != config.vocab_size:
        raise ModelError(
            f"{folder}/vocab.txt has {len(tokenizer)} words; config.json says {config.vocab_size}."
        )
    return encoder, tokenizer, head


def split_weights(weights: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The published weights to BertModel's (without pooler) and the projection head's.

    Raises:
        ModelError: a key that belongs to neither, or no projection head.
    """
    bert, head = {}, {}
    for key, value in weights.items():
        if key.startswith("bert."):
            if key != "bert.embeddings.position_ids":  # counts 0, 1, 2 ..., which old versions saved
                bert[key.removeprefix("bert.")] = value
        elif key.startswith(_HEAD):
            head[key.removeprefix(_HEAD)] = value.contiguous()
        elif not key.startswith("cls."):
            raise ModelError(f"BioViL-T's weights hold {key!r}; expected bert.*, cls.* and {_HEAD}* alone.")
    if not bert or not head:
        raise ModelError(
            f"BioViL-T's weights have no {'bert.*' if not bert else _HEAD + '*'}; is it another BERT?"
        )
    return bert, head


def _read_weights(folder: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    if (folder / "model.safetensors").is_file():
        return load_file(folder / "model.safetensors")
    if (folder / "pytorch_model.bin").is_file():
        return torch.load(folder / "pytorch_model.bin", weights_only=True, map_location="cpu")
    raise ModelError(f"{folder} has no model.safetensors and no pytorch_model.bin.")


def _load(network: Any, weights: dict[str, Tensor], where: Path) -> None:
    try:
        network.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise ModelError(f"{where} is of another layout: {str(error).splitlines()[1].strip()}") from error
