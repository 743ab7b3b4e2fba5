"""``synthorax models``: which there are, what one is, how to bring one, and a training's newest weights."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    no_args_is_help=True, help="Models: list, look at one, fetch or convert a published one, export."
)

Name = Annotated[str, typer.Argument(help="A known model: see 'models list'.")]
PartPaths = Annotated[
    list[str] | None, typer.Option("--part", help="NAME=PATH: a part at hand, laid out as published; repeat.")
]
NewFolder = Annotated[Path, typer.Option(help="The pipeline folder to write.")]


@app.command("list")
def list_models() -> None:
    """Known models: their parts, licence and defaults, and what the hub's cache has of them."""
    from synthorax.diffusion.hub import is_at_hand
    from synthorax.diffusion.published import published_models

    typer.echo("embedded: comes with the package, used where no --model is given")
    for name, model in published_models().items():
        typer.echo(f"\n{name}: {model.licence}")
        for part, where in model.parts.items():
            state = "at hand" if is_at_hand(where) else "not at hand"
            gate = ", gated" if where.is_gated else ""
            typer.echo(f"  {part}: {where.repo}{gate} ({state})" if where.repo else f"  {part}: {where.how}")
        for what, verb in (("sample", "samples"), ("edit", "edits")):
            if what in model.card:
                typer.echo(f"  {verb} by default with: {_settings(model.card[what])}")


@app.command()
def info(
    name: Annotated[
        str | None,
        typer.Argument(help="A pipeline folder, repo id or known model; default: the embedded model."),
    ] = None,
) -> None:
    """What a model is: sizes, kind of prediction, checksum, default settings, licence and notes."""
    from synthorax.diffusion import load_model
    from synthorax.diffusion.published import card_of, published_models

    if name in published_models() and not Path(name).is_dir():
        _tell(card_of(name))
        return
    model = load_model(name)
    n_parameters = sum(
        p.numel()
        for part in (model.pipeline.vae, model.pipeline.text_encoder, model.network)
        for p in part.parameters()
    )
    _tell(
        {
            "sha256": model.model_sha256,
            "films": f"{model.image_size} x {model.image_size} px",
            "latents": " x ".join(map(str, model.latent_shape)),
            "predicts": model.prediction_type,
            "parameters": f"{n_parameters / 1e6:.1f} million",
            "computes in": str(model.dtype).removeprefix("torch."),
            **model.card,
            "model": model.model_id,
            "sample": model.sample_settings,
            "edit": model.edit_settings,
        }
    )


@app.command()
def fetch(
    name: Name,
    out: NewFolder,
    part: PartPaths = None,
    revision: Annotated[
        list[str] | None, typer.Option(help="PART=REVISION of its repo: branch, tag or commit; repeat.")
    ] = None,
) -> None:
    """Download a known model's parts from the Hugging Face hub and convert them to one folder."""
    from synthorax.diffusion.convert import fetch as fetch_model

    paths = {key: Path(value) for key, value in _pairs("--part", "NAME=PATH", part).items()}
    typer.echo(fetch_model(name, out, paths, _pairs("--revision", "PART=REVISION", revision)))


@app.command()
def convert(name: Name, out: NewFolder, part: PartPaths = None) -> None:
    """Convert a known model's published parts, from local folders, to one folder that --model takes."""
    from synthorax.diffusion.convert import convert as convert_model

    paths = {key: Path(value) for key, value in _pairs("--part", "NAME=PATH", part).items()}
    typer.echo(convert_model(name, paths, out))


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="Folder of a diffusion training, finished or not.")],
    out: NewFolder,
    vae: Annotated[
        Path | None, typer.Option(help="The vae folder that the training was given, if any.")
    ] = None,
    text: Annotated[
        Path | None, typer.Option(help="The text encoder's folder that the training was given, if any.")
    ] = None,
) -> None:
    """Write a training's newest checkpoint as a diffusers pipeline (fp16 safetensors)."""
    from synthorax.diffusion.train_diffusion import export_pipeline

    typer.echo(export_pipeline(run, out, vae, text))


def _pairs(option: str, form: str, given: Sequence[str] | None) -> dict[str, str]:
    from synthorax.errors import InputError

    pairs = {}
    for word in given or ():
        key, equals, value = word.partition("=")
        if not (key and equals and value):
            raise InputError(f"{option} is {word!r}; expected {form}.")
        pairs[key] = value
    return pairs


def _settings(settings: dict) -> str:
    return ", ".join(f"{key} {value}" for key, value in settings.items())


def _tell(card: dict) -> None:
    names = {"sample": "samples by default with", "edit": "edits by default with"}
    for key in sorted(card, key=lambda key: key != "model"):
        value = card[key]
        if key == "notes":
            continue
        typer.echo(f"{names.get(key, key)}: {_settings(value) if isinstance(value, dict) else value}")
    for note in card.get("notes", []):
        typer.echo(f"note: {note}")
