"""``synthorax models``: what a model is, and a training's newest weights as a pipeline."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Model folders: look at one, export one.")


@app.command()
def info(
    name: Annotated[
        str | None, typer.Argument(help="A pipeline folder or repo id; default: the embedded model.")
    ] = None,
) -> None:
    """What a model is: sizes, kind of prediction, checksum."""
    from synthorax.diffusion import load_model

    model = load_model(name)
    n_parameters = sum(
        p.numel()
        for part in ("vae", "text_encoder", "unet")
        for p in getattr(model.pipeline, part).parameters()
    )
    for key, value in {
        "model": model.model_id,
        "sha256": model.model_sha256,
        "films": f"{model.image_size} x {model.image_size} px",
        "latents": " x ".join(map(str, model.latent_shape)),
        "predicts": model.prediction_type,
        "parameters": f"{n_parameters / 1e6:.1f} million",
        "computes in": str(model.dtype).removeprefix("torch."),
    }.items():
        typer.echo(f"{key}: {value}")


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="Folder of a diffusion training, finished or not.")],
    out: Annotated[Path, typer.Option(help="The pipeline folder to write.")],
    vae: Annotated[
        Path | None, typer.Option(help="The vae folder that the training was given, if any.")
    ] = None,
) -> None:
    """Write a training's newest checkpoint as a diffusers pipeline (fp16 safetensors)."""
    from synthorax.diffusion.train_diffusion import export_pipeline

    typer.echo(export_pipeline(run, out, vae))
