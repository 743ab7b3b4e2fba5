"""``synthorax edit`` and ``synthorax generate``: a plan's edits, and whole films from prompts."""

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[
    str | None,
    typer.Option("--model", help="A diffusers pipeline folder or repo id; default: the embedded model."),
]
Guidance = Annotated[float, typer.Option(help="Strength of the prompt: 1 is none; embedded model 3.")]
Steps = Annotated[int, typer.Option(min=1, help="Denoising steps.")]
Out = Annotated[Path, typer.Option(help="Run folder; the same command over a killed run finishes it.")]


def edit(
    plan: Annotated[Path, typer.Argument(help="plan.parquet from 'synthorax perturb'.")],
    studies: Annotated[Path, typer.Option(help="The manifest of the plan's films.")],
    out: Out,
    model: Model = None,
    guidance_scale: Annotated[
        float | None, typer.Option(help="Strength of the prompt. Default of these three: the model's own.")
    ] = None,
    num_inference_steps: Annotated[int | None, typer.Option(min=1, help="Denoising steps.")] = None,
    skip: Annotated[
        float | None,
        typer.Option(min=0, max=0.99, help="Fraction of the noisiest steps left out: more keeps more."),
    ] = None,
) -> None:
    """Make a plan's edits, without masks: OUT/synthetic with its metadata.parquet."""
    from synthorax.runs.plan_edits import edit_plan

    given = {"guidance_scale": guidance_scale, "num_inference_steps": num_inference_steps, "skip": skip}
    given = {name: value for name, value in given.items() if value is not None}
    typer.echo(edit_plan(plan, studies, out, given, model))


def generate(
    prompts: Annotated[
        Path, typer.Argument(help="A text file with a prompt a line, or a table with a column 'prompt'.")
    ],
    out: Out,
    model: Model = None,
    guidance_scale: Guidance = 3.0,
    num_inference_steps: Steps = 30,
    seed: Annotated[int, typer.Option(help="Seed of the films.")] = 0,
) -> None:
    """Make whole films from prompts: OUT/synthetic with its metadata.parquet."""
    from synthorax.runs.making import Settings
    from synthorax.runs.plan_edits import generate_films

    typer.echo(generate_films(prompts, out, Settings(guidance_scale, num_inference_steps, 0.0), seed, model))
