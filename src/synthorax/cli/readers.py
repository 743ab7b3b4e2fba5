"""``synthorax readers``: a blinded study from a run, and its figures."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Let radiologists judge a run's films, blinded.")


@app.callback()
def readers() -> None:
    """Let radiologists judge a run's films, blinded."""


@app.command()
def create(
    run: Annotated[Path, typer.Argument(help="A run folder, e.g. runs/demo.", metavar="RUN")],
    protocol: Annotated[
        str,
        typer.Option(help="cars (real or synthetic, findings), chexgen (five points), preference or 2afc."),
    ] = "cars",
    readers: Annotated[int, typer.Option(min=1, help="Readers; each gets a link and an order.")] = 2,
    cases: Annotated[int | None, typer.Option(min=1, help="Distinct cases; default: all there are.")] = None,
    repeats: Annotated[float, typer.Option(help="Share of cases shown twice, 0 to 0.33.")] = 0.1,
    seed: Annotated[int, typer.Option(help="Of cases and orders.")] = 0,
    simulated: Annotated[
        bool,
        typer.Option("--simulated", help="Answers will come from a program; pages and figures say so."),
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="The study's file; default: RUN/readers/PROTOCOL.sqlite.")
    ] = None,
) -> None:
    """Make a blinded, randomised reader study; `synthorax serve RUN` then takes the answers."""
    from synthorax.readers import create_study

    file = out or run / "readers" / f"{protocol}.sqlite"
    study = create_study(
        run,
        file,
        protocol,
        readers=readers,
        cases=cases,
        repeats=repeats,
        seed=seed,
        is_simulated=simulated,
    )
    typer.echo(f"{file}: {study.progress(1)[1]} items for each of {readers} readers")
    for reader, link in study.links().items():
        typer.echo(f"reader {reader}: /read/{link}")


@app.command()
def analyse(
    study: Annotated[Path, typer.Argument(help="The study's file, RUN/readers/*.sqlite.")],
    out: Annotated[Path | None, typer.Option(help="Folder of tables; default: beside the study.")] = None,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
) -> None:
    """Distributions, intervals, agreement, repeatability, comparison of methods, preferences, failure modes."""
    from synthorax.readers import Study
    from synthorax.readers import analyse as figures

    folder = out or study.with_suffix("")
    found = figures(Study(study), folder, seed)
    label = "SIMULATED answers, no reader: " if found["study"]["is_simulated"] else ""
    typer.echo(f"{label}{found['study']['title']}; tables in {folder}")
    for row in found["readers"]:
        typer.echo(f"reader {row['reader']}: {row['n_answered']} of {row['n_items']} items answered")
    for row in found["distribution"]:
        typer.echo(f"{row['method']:18} reader {row['reader']}  {row['wording']:36} {row['share']:4.0%} "
                   f"({row['ci_low']:.0%} to {row['ci_high']:.0%})")  # fmt: skip
    for row in found["comparison"]:
        wider = row["readers_like_them"]
        typer.echo(f"{row['question']}, {row['figure']}: {row['method']} minus {row['minus']} {row['difference']:+.2f} "
                   f"({row['ci_low']:+.2f} to {row['ci_high']:+.2f}"
                   + (f"; of readers like these {wider['ci_low']:+.2f} to {wider['ci_high']:+.2f})" if wider else ")"))  # fmt: skip
    for row in found["pairs"]:
        typer.echo(f"reader {row['reader']}: {row['chosen']} chosen over {row['over']} in {row['n']} of {row['of']} "
                   f"({row['ci_low']:.0%} to {row['ci_high']:.0%})")  # fmt: skip
    for row in found["agreement"]:
        known = {name: row[name] for name in ("percent_agreement", "fleiss", "ac1", "alpha")}
        typer.echo(f"{row['question']}: " + ", ".join(f"{k} {'undefined' if v is None else f'{v:.2f}'}" for k, v in known.items()))  # fmt: skip
