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
    vae: Annotated[Path, typer.Option(help="The autoencoder's vae folder.")],
    out: Out,
) -> None:
    """Train the diffusion model on the autoencoder's latents; the result is OUT/pipeline."""
    from synthorax.diffusion.recipes import read_recipe
    from synthorax.diffusion.train_diffusion import DiffusionConfig, train_diffusion

    typer.echo(train_diffusion(read_recipe(config, DiffusionConfig), films, vae, out))
