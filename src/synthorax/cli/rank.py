"""``synthorax rank``: which of a prompt's films to keep, by a classifier and by readers."""

from pathlib import Path
from typing import Annotated

import typer


def rank(
    run: Annotated[Path, typer.Argument(help="A run or dataset with several films a prompt.", metavar="RUN")],
    judge: Annotated[
        str, typer.Option(help="The model that ranks: as in `evaluate classifier`; its outputs are labels.")
    ],
    second: Annotated[
        str | None, typer.Option(help="Another model, which says whether the ranking's first are better.")
    ] = None,
    votes: Annotated[
        list[Path] | None, typer.Option(help="preferences.jsonl of a reader study; repeat for more.")
    ] = None,
    margin: Annotated[float, typer.Option(help="Least difference of scores in a pair without votes.")] = 0.1,
    matched: Annotated[
        bool,
        typer.Option(
            "--matched", help="Pair the films nearest in brightness, so that exposure is not learned."
        ),
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Folder of tables; default: RUN/ranking.")] = None,
    device: Annotated[str, typer.Option(help="torch device: cpu, cuda, cuda:1, mps.")] = "cpu",
) -> None:
    """Rank the films of each prompt, best first; write the ranking and pairs for `train alignment`."""
    from synthorax.readers import ranking

    folder = out or run / "ranking"
    found = ranking.rank(
        run, judge, folder, second=second, votes=votes or (), margin=margin, matched=matched, device=device
    )
    for c in found:
        typer.echo(f"{c.what}: {c.first:.3f} - {c.second:.3f} = {c.ours} over prompts; one-tailed t, Bonferroni: p {c.p_bonferroni:.2g} ({c.n_first} and {c.n_second} films)")  # fmt: skip
    typer.echo(f"ranking, pairs and comparisons in {folder}")
