"""``synthorax studies``: bring films and reports into one manifest."""

from pathlib import Path
from typing import Annotated

import typer

from synthorax.studies.formats import ANNOTATED, FORMATS

app = typer.Typer(no_args_is_help=True, help="Bring films and reports into one manifest.")


@app.callback()
def studies() -> None:
    """Bring films and reports into one manifest."""


@app.command("import")
def import_(
    path: Annotated[
        Path, typer.Argument(help="The set's folder as published (a table for 'manifest', or a DICOMDIR).")
    ],
    format: Annotated[
        str,
        typer.Option(help=f"{', '.join(FORMATS)}."),
    ],
    out: Annotated[Path, typer.Option(help="The manifest to write, e.g. studies.parquet.")],
    limit: Annotated[int | None, typer.Option(help="Take this many films at most (a fixed shuffle).")] = None,
    views: Annotated[
        str, typer.Option(help="Views to take: PA, AP, LATERAL, unknown, separated by commas.")
    ] = "PA,AP,unknown",
    reports: Annotated[Path | None, typer.Option(help="Folder with the reports' texts.")] = None,
    table: Annotated[
        Path | None, typer.Option(help="folder: the CSV that describes the films; medfmc: one of its lists.")
    ] = None,
    mimic_iv: Annotated[
        Path | None, typer.Option(help="mimic-cxr: MIMIC-IV's folder with patients and admissions.")
    ] = None,
    labeler: Annotated[str | None, typer.Option(help="mimic-cxr: chexpert (default) or negbio.")] = None,
    take_burned_in: Annotated[
        bool,
        typer.Option("--take-burned-in", help="dicom: take films whose header says that text is burnt in."),
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 where a row was rejected.")] = False,
) -> None:
    """Read a set of films as published into one manifest; list what was rejected, and why, beside it."""
    from synthorax.errors import InputError
    from synthorax.files import atomic
    from synthorax.studies import import_studies, write_manifest

    chosen = [view.strip() for view in views.split(",") if view.strip()]
    options = {"reports": reports, "table": table, "mimic_iv": mimic_iv, "labeler": labeler}
    take = True if take_burned_in else None
    found = import_studies(path, format, limit=limit, views=chosen, take_burned_in=take, **options)
    listed = out.with_name(f"{out.stem}.rejected.csv")
    if found.frame.is_empty():
        first = found.rejected["reason"][0] if found.rejected.height else "the set is empty."
        raise InputError(
            f"no film of {path} could be taken ({found.rejected.height} rejected); the first: {first}"
        )
    write_manifest(found.frame, out)
    with atomic(listed) as temporary:
        found.rejected.write_csv(temporary)
    patients, n_studies = (found.frame[name].n_unique() for name in ("patient_id", "study_id"))
    with_text = found.frame["report"].count()
    typer.echo(f"{found.frame.height} films of {patients} patients in {n_studies} studies: {out}")
    typer.echo(f"{with_text} with a report, {found.frame['labels_present'].count()} with the set's labels")
    typer.echo(f"{found.rejected.height} rejected: {listed}")
    for row in found.rejected.head(3).iter_rows(named=True):
        typer.echo(f"  {row['reason']}")
    for note in found.notes:
        typer.echo(f"note: {note}")
    if strict and found.rejected.height:
        raise typer.Exit(1)


def _labels(words: str | None) -> list[str] | None:
    return None if words is None else [word.strip() for word in words.split(",") if word.strip()]


@app.command()
def annotations(
    path: Annotated[Path, typer.Argument(help="The set's folder as published, or its table of masks or boxes.")],
    format: Annotated[str, typer.Option(help=f"{', '.join(ANNOTATED)}.")],
    out: Annotated[Path, typer.Option(help="Folder for annotations.parquet, masks, coco.json and films.parquet.")],
    studies: Annotated[
        Path | None,
        typer.Option(help="The films' manifest: only its films, masks on their grid, and films.parquet for 'stress'."),
    ] = None,
    plan: Annotated[
        Path | None, typer.Option(help="A plan of edits: also written with its masks, for 'edit --masks file'.")
    ] = None,
    edit: Annotated[str | None, typer.Option(help="Labels of the edit mask, between commas; default RadEdit's of the set.")] = None,
    keep: Annotated[str | None, typer.Option(help="Labels of the keep mask; likewise.")] = None,
    target: Annotated[str | None, typer.Option(help="Labels that make a film positive; default those of the edit mask.")] = None,
    least_raters: Annotated[int, typer.Option(min=1, help="Raters who must agree on a pixel, or on a label.")] = 1,
    limit: Annotated[int | None, typer.Option(min=1, help="Take this many films at most.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 where a mark was rejected.")] = False,
) -> None:  # fmt: skip
    """Read masks and boxes as published: one table, masks on the films' grid, edit and keep masks, COCO JSON."""
    from synthorax.studies.annotations import write_annotations

    found = write_annotations(
        path, format, out, studies=studies, plan=plan, edit=_labels(edit), keep=_labels(keep), target=_labels(target),
        least_raters=least_raters, limit=limit,
    )  # fmt: skip
    marks = found.frame.filter(found.frame["kind"] != "none")
    typer.echo(
        f"{marks.height} marks of {found.frame['image_id'].n_unique()} films: {out}/annotations.parquet"
    )
    for label, number in sorted(marks["label"].value_counts().rows()):
        typer.echo(f"  {label}: {number}")
    if found.films is not None:
        n_masks = found.films["edit_mask_file_name"].count()
        typer.echo(
            f"{found.films.height} films with a target, {n_masks} with an edit mask: {out}/films.parquet"
        )
    typer.echo(f"{found.rejected.height} rejected: {out}/rejected.csv")
    for row in found.rejected.head(3).iter_rows(named=True):
        typer.echo(f"  {row['reason']}")
    for note in found.notes:
        typer.echo(f"note: {note}")
    if strict and found.rejected.height:
        raise typer.Exit(1)


@app.command()
def describe(
    manifest: Annotated[Path, typer.Argument(help="A manifest made by 'studies import'.")],
    out: Annotated[Path | None, typer.Option(help="Also write the numbers as JSON.")] = None,
) -> None:
    """Print sources, views, sex, age, findings, text lengths and the commonest words of a manifest."""
    import json

    from synthorax.files import atomic
    from synthorax.studies import read_manifest
    from synthorax.studies.description import describe as described
    from synthorax.studies.description import lines_of

    found = described(read_manifest(manifest))
    for line in lines_of(found):
        typer.echo(line)
    if out is not None:
        with atomic(out) as temporary:
            temporary.write_text(json.dumps(found, indent=1) + "\n")
