"""``synthorax train``: models from films, by recipe; the same command goes on where it was stopped."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Train a model; the same command resumes.")

Config = Annotated[str, typer.Argument(help="A YAML file, or the name of a shipped recipe.")]
FilmsOption = Annotated[
    list[Path], typer.Option("--films", help="A studies.parquet (virtual or real); repeat for more.")
]
Out = Annotated[Path, typer.Option(help="Run folder: checkpoint, log, result.")]


@app.command()
def autoencoder(config: Config, films: FilmsOption, out: Out) -> None:
    """Train the autoencoder; the result is OUT/vae."""
    from synthorax.diffusion.recipes import read_recipe
    from synthorax.diffusion.train_autoencoder import AutoencoderConfig, train_autoencoder

    typer.echo(train_autoencoder(read_recipe(config, AutoencoderConfig), films, out))


@app.command()
def diffusion(
    config: Config,
    films: FilmsOption,
    out: Out,
    vae: Annotated[Path | None, typer.Option(help="The autoencoder's vae folder, for new networks.")] = None,
    start: Annotated[
        str | None, typer.Option(help="Go on from this pipeline folder or repo id instead (fine-tuning).")
    ] = None,
) -> None:
    """Train a diffusion model, or fine-tune a published one on one's own films; the result is OUT/pipeline."""
    from synthorax.diffusion.recipes import read_recipe
    from synthorax.diffusion.train_diffusion import DiffusionConfig, train_diffusion

    asked = read_recipe(config, DiffusionConfig)
    if start is not None:
        asked = asked.model_copy(update={"start": start})
    typer.echo(train_diffusion(asked, films, out, vae))
