"""``synthorax bias``: twins of test cases, a model's F1 by group on both, and films that fill groups to parity."""

from pathlib import Path
from typing import Annotated

import typer

from synthorax.cli.classifiers import Concepts, Device, Model, Studies

app = typer.Typer(
    no_args_is_help=True, help="Find whom a model serves worse on synthetic twins, and fill groups."
)

Table = Annotated[Path, typer.Option(help="The table of prompts for 'synthorax generate', a .parquet.")]
Form = Annotated[str, typer.Option(help="The prompts' form: synthorax, roentgen-v2 or chexgen.")]
By = Annotated[
    str, typer.Option(help="Axes by commas, of sex, age_group, view_position; groups are their crossings.")
]


@app.command()
def match(studies: Studies, concepts: Concepts, out: Table, form: Form = "synthorax") -> None:
    """Ask for a twin of each film: the same findings, sides, sex, age and view."""
    from synthorax.concepts import read_concepts
    from synthorax.generation.matching import matched
    from synthorax.studies import read_manifest

    _write(matched(read_manifest(studies), *read_concepts(concepts), form), out)


@app.command()
def fill(
    studies: Studies,
    concepts: Concepts,
    out: Table,
    by: By = "sex,age_group",
    form: Form = "synthorax",
    seed: Annotated[int, typer.Option(help="Which films lend findings and persons.")] = 0,
) -> None:
    """Ask for the films that each group lacks to have as many of every combination of labels as the fullest."""
    from synthorax.concepts import read_concepts
    from synthorax.generation.matching import filling
    from synthorax.studies import read_manifest

    table, vocabulary = read_concepts(concepts)
    _write(filling(read_manifest(studies), table, vocabulary, by.split(","), form, seed), out)


@app.command()
def measure(
    classifier: Model,
    studies: Studies,
    concepts: Concepts,
    twins: Annotated[Path, typer.Option(help="The run that 'generate' made of the twins' table.")],
    out: Annotated[Path, typer.Option(help="Folder for groups.csv and bias.json.")],
    by: By = "sex,age_group",
    least_patients: Annotated[int, typer.Option(min=1, help="Smaller groups are left out.")] = 20,
    resamples: Annotated[int, typer.Option(min=1, help="Of the bootstrap by patient.")] = 1000,
    device: Device = "cpu",
) -> None:
    """F1 weighted over labels, by group, on films that the model has not seen and on their twins, and its correlation."""
    from synthorax.classifiers.twins import bias_on_studies

    found = bias_on_studies(
        classifier, studies, concepts, twins, out, by=by.split(","), least_patients=least_patients,
        n_resamples=resamples, device=device,
    )  # fmt: skip
    for axis in found["axes"]:
        for kind in ("films", "twins"):
            worst, gap = axis[kind]["worst"], axis[kind]["gap"]
            typer.echo(
                f"{axis['axis']:18} {kind}: worst {axis[kind]['worst_group']} {worst['estimate']:.3f} "
                f"({worst['ci_low']:.3f} to {worst['ci_high']:.3f}), gap {gap['estimate']:.3f} ({gap['ci_low']:.3f} to {gap['ci_high']:.3f})"
            )
        if (r := axis["agreement"]) is not None:
            typer.echo(
                f"{axis['axis']:18} r {r['r']:.3f} ({r['ci_low']:.3f} to {r['ci_high']:.3f}), p {r['p_value']:.3f}, {r['n_groups']} groups"
            )
    typer.echo(f"{found['n_cases']} cases with a twin, {found['n_without_twin']} without; tables in {out}")


def _write(table, out: Path) -> None:
    from synthorax.errors import InputError
    from synthorax.files import atomic

    if out.suffix != ".parquet":
        raise InputError(f"{out} is no place for a table: expected a name that ends in .parquet. Rename it.")
    with atomic(out) as temporary:
        table.write_parquet(temporary)
    typer.echo(f"{table.height} prompts: {out}")
    for text in table["prompt"].unique(maintain_order=True).head(3):
        typer.echo(f"  {text}")
