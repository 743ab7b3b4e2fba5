"""``synthorax perturb``: which film is edited into what."""

from pathlib import Path
from typing import Annotated

import typer


def perturb(
    concepts: Annotated[Path, typer.Argument(help="A concept table made by 'synthorax concepts annotate'.")],
    out: Annotated[Path, typer.Option(help="The plan to write, e.g. plan.parquet.")],
    types: Annotated[
        str, typer.Option(help="intra_class, insertion, deletion (CARS) and outer_class (CoRPA), by commas.")
    ] = "intra_class,insertion,deletion",
    per_type: Annotated[int, typer.Option(help="Different edits of a type for each film: 1 or 2.")] = 2,
    budget: Annotated[int | None, typer.Option(help="At most so many edits in all.")] = None,
    strategy: Annotated[
        str, typer.Option(help="uniform, or coverage: prefer what never or rarely occurs.")
    ] = "uniform",
    seed: Annotated[int, typer.Option(help="Seed of every draw.")] = 0,
    vocabulary: Annotated[
        str | None,
        typer.Option(help="Another vocabulary than the one that the table was made with.", metavar="V"),
    ] = None,
    include_other_findings: Annotated[
        bool, typer.Option(help="Perturb films that show only findings outside the vocabulary as well.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count the edits and write nothing.")] = False,
) -> None:
    """Plan the edits: one row each, with source, concepts before and after, type, prompt and seed."""
    from synthorax.concepts import read_concepts
    from synthorax.files import atomic
    from synthorax.perturbations import make_plan

    table, words = read_concepts(concepts, vocabulary)
    made = make_plan(
        table,
        words,
        [kind.strip() for kind in types.split(",") if kind.strip()],
        per_type=per_type,
        budget=budget,
        strategy=strategy,
        seed=seed,
        include_other_findings=include_other_findings,
    )
    if not dry_run:
        with atomic(out) as temporary:
            made.edits.write_parquet(temporary)
    typer.echo(f"{made.sentence()}{' Nothing written (--dry-run).' if dry_run else f' {out}'}")
