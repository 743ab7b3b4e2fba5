"""``synthorax runs``: where a run stands, whether it is whole, joining its shards, handing its dataset on."""

import json
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    no_args_is_help=True, help="A run's folder: status, verify, repair, merge shards, export the dataset."
)

Run = Annotated[Path, typer.Argument(help="A run's folder (the --out of the command that made it).")]


@app.command()
def status(
    run: Run, as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False
) -> None:
    """Say how many items are done, refused and pending; also while the run works."""
    from synthorax.runs.checking import run_folders
    from synthorax.runs.checking import status as counts_of

    found = {str(folder): counts_of(folder) for folder in run_folders(run)}
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    for folder, stages in found.items():
        for stage, counts in stages.items():
            total = sum(counts.values())
            typer.echo(f"{folder} {stage}: {total} planned = " + " + ".join(f"{n} {state}" for state, n in counts.items()))  # fmt: skip
        if not stages:
            typer.echo(f"{folder}: nothing planned yet")


@app.command()
def verify(run: Run) -> None:
    """Compare every finished image with its SHA-256, and the manifest with the ledger; exit code 1 if not whole."""
    from synthorax.runs.checking import run_folders
    from synthorax.runs.checking import verify as check

    verdicts = [check(folder) for folder in run_folders(run)]
    problems = [problem for verdict in verdicts for problem in verdict.problems]
    for problem in problems:
        typer.echo(problem)
    typer.echo(f"{sum(verdict.n_files for verdict in verdicts)} files, {len(problems)} problems")
    if problems:
        raise typer.Exit(1)


@app.command()
def repair(run: Run) -> None:
    """Remove what is broken, so that the run's own command makes it again; whole images are kept."""
    from synthorax.runs.checking import repair as mend
    from synthorax.runs.checking import run_folders

    done = [sentence for folder in run_folders(run) for sentence in mend(folder)]
    for sentence in done:
        typer.echo(sentence)
    typer.echo("Give the run's command again." if done else "Nothing to repair.")


@app.command()
def merge(run: Run) -> None:
    """Join RUN/shards/*-of-N to the run that one process would have made."""
    from synthorax.runs.merging import merge as join

    typer.echo(join(run))


@app.command()
def export(
    run: Run,
    out: Annotated[Path, typer.Option(help="A new folder.")],
    to: Annotated[str, typer.Option(help="imagefolder, webdataset, dicom or hf.")] = "imagefolder",
    where: Annotated[
        str | None,
        typer.Option(help="SQL condition over the metadata, e.g. 'score_edit > .2 and is_valid'."),
    ] = None,
    n: Annotated[int | None, typer.Option("--n", min=1, help="A sample of so many rows.")] = None,
    seed: Annotated[int, typer.Option(help="Of the sample.")] = 0,
    stratify: Annotated[str | None, typer.Option(help="A column whose values keep their shares.")] = None,
    uid_root: Annotated[
        str | None, typer.Option(help="Root of DICOM UIDs, ending in a dot; default: pydicom's.")
    ] = None,
) -> None:
    """Hand the synthetic dataset, or a part of it, on."""
    from synthorax.dataset import read_metadata
    from synthorax.errors import unknown_choice
    from synthorax.runs.exporting import FORMS
    from synthorax.runs.exporting import export as write
    from synthorax.runs.selecting import select

    if to not in FORMS:
        raise unknown_choice("--to", to, FORMS)
    frame = read_metadata(run / "synthetic")
    chosen = select(frame, where, n, seed, stratify)
    write(chosen, run / "synthetic", out, to, uid_root)
    typer.echo(f"{out}: {chosen.height} of {frame.height} rows as {to}")
