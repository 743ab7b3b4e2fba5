"""``synthorax evaluate fairness``."""

from pathlib import Path
from typing import Annotated

import typer

from synthorax.cli.classifiers import Concepts, Device, Model, Names, Studies, names_of


def fairness(
    classifier: Model,
    studies: Studies,
    concepts: Concepts,
    out: Annotated[Path, typer.Option(help="Folder for groups.csv, gaps.csv, fairness.json and fairness.html.")],
    names: Names = None,
    least_patients: Annotated[
        int, typer.Option(min=1, help="Groups that rest on fewer patients are shown as too small.")
    ] = 20,
    resamples: Annotated[int, typer.Option(min=1, help="Of the bootstrap by patient.")] = 1000,
    permutations: Annotated[int, typer.Option(min=1, help="Of groups among patients: the null of each gap.")] = 200,
    seed: Annotated[int, typer.Option(help="Of bootstrap and permutations.")] = 0,
    device: Device = "cpu",
) -> None:  # fmt: skip
    """Metrics, underdiagnosis and gaps by sex, age, race, view, site and their crossings."""
    from synthorax.classifiers.fairness_page import fairness_on_studies

    found = fairness_on_studies(
        classifier, studies, concepts, out, names=names_of(names), least_patients=least_patients,
        n_resamples=resamples, n_permutations=permutations, seed=seed, device=device,
    )  # fmt: skip
    for gap in found.gaps.iter_rows(named=True):
        if gap["label"] in ("macro", "film") and " x " not in gap["axis"]:
            typer.echo(
                f"{gap['axis']:14} {gap['metric']:15} gap {gap['gap']:.3f} ({gap['ci_low']:.3f} to {gap['ci_high']:.3f}), "
                f"by chance {gap['null_mean']:.3f}, p {gap['p_value']:.3f}; worst {gap['worst_group']} {gap['worst']:.3f}"
            )
    small = found.groups["is_too_small"].sum()
    typer.echo(f"{small} of {found.groups.height} figures rest on too few patients; {out}/fairness.html")
