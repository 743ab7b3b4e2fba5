"""Published models by name: ``published.yaml``, read and checked."""

from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict

from synthorax.errors import unknown_choice

#: What a whole pipeline's folder is read from: configs, vocabularies, safetensors of its sub-folders.
PIPELINE_FILES = ("*.json", "*/*.txt", "*/*.model", "*/*.safetensors", "null_text.safetensors")


class Part(BaseModel):
    """A part of a model as it is published: a hub repo's files, or (``how``) what a person must do to get it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    repo: str | None = None
    is_gated: bool = False
    files: tuple[str, ...] = PIPELINE_FILES
    how: str = ""


class Published(BaseModel):
    """A published model.

    Attributes:
        layout: how its parts become a pipeline folder.
        licence: in words; the authors' own text decides.
        parts: name -> where it is.
        card: what a converted folder's ``card.json`` says.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    layout: Literal["stable-diffusion", "radedit", "chexgen", "medvae"]
    licence: str
    parts: dict[str, Part]
    card: dict[str, Any]


@cache
def published_models() -> dict[str, Published]:
    """Every known model by its name."""
    table = yaml.safe_load((Path(__file__).parent / "published.yaml").read_text(encoding="utf-8"))
    return {name: Published(**entry) for name, entry in table.items()}


def published_model(name: str) -> Published:
    """A known model.

    Raises:
        InputError: no such name.
    """
    if name not in published_models():
        raise unknown_choice("model", name, published_models())
    return published_models()[name]


def name_of_repo(repo: str) -> str | None:
    """The known model that has the repo as its first part."""
    for name, model in published_models().items():
        first = next(iter(model.parts.values())).repo
        if first and first.lower() == repo.lower():
            return name
    return None


def card_of(name: str) -> dict[str, Any]:
    """A known model's card, as its folder carries it."""
    model = published_model(name)
    return {"model": name, "licence": model.licence, **model.card}


def card_of_repo(repo: str) -> dict[str, Any]:
    """The card for a repo that has none of its own; empty for one that is not known."""
    name = name_of_repo(repo)
    return card_of(name) if name else {}
