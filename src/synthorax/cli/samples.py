"""``synthorax evaluate samples``."""

from pathlib import Path
from typing import Annotated

import typer


def evaluate_samples(
    datasets: Annotated[
        list[Path], typer.Argument(help="Dataset folders, one a model, drawn from one list of prompts.")
    ],
    real: Annotated[Path, typer.Option(help="Real films: a studies.parquet.")],
    out: Annotated[Path, typer.Option(help="Folder for tables, map and nearest films.")],
    extractor: Annotated[
        str,
        typer.Option(
            help="Whose features: a classifier's folder, clip:FOLDER, or xrv:FILE (safetensors of densenet121-res224-all)."
        ),
    ],
    oracle: Annotated[
        str | None, typer.Option(help="A classifier's folder: does a film show what was asked for?")
    ] = None,
    trained_on: Annotated[
        list[Path] | None,
        typer.Option(help="Films that the models were trained on (a studies.parquet): memorisation audit."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of subsets and map.")] = 0,
) -> None:
    """Distances to real films, factual correctness, diversity, obedience, memorisation; each names its extractor."""
    from synthorax.quality.on_datasets import evaluate_samples as evaluate

    table = evaluate(
        datasets, real, out, extractor=extractor, oracle=oracle, trained_on=trained_on or [], seed=seed
    )
    for row in table.iter_rows(named=True):
        interval = "" if row["ci_low"] is None else f" ({row['ci_low']:.3f} to {row['ci_high']:.3f})"
        typer.echo(
            f"{row['dataset']}: {row['figure']} {row['value']:.3f}{interval}, n {row['n_synthetic']} {row['extractor']}"
        )
    typer.echo(f"tables, map and nearest films in {out}")
