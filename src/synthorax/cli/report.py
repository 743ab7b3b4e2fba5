"""``synthorax report``: a run's figures as one page."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[
        Path, typer.Argument(help="A run folder with results.json, e.g. runs/demo.", metavar="RUN")
    ],
) -> None:
    """Write RUN/report.html again from the run's results.json: one file, no network needed to read it."""
    from synthorax.runs.report import write_report

    typer.echo(write_report(run))
