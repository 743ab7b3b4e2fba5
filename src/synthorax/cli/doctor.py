"""``synthorax doctor``: what this machine has and what each command would need."""

import json
from typing import Annotated

import typer


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Say what this machine has, which models are at hand, and what each command would need."""
    from synthorax.runs.machine import describe_machine

    sections = describe_machine()
    if as_json:
        typer.echo(json.dumps(sections, indent=2))
        return
    for title, facts in sections.items():
        typer.echo(f"\n{title}")
        for name, value in facts.items():
            shown = ", ".join(map(str, value)) if isinstance(value, list) else value
            typer.echo(f"  {name:<20} {'none' if shown in (None, '') else shown}")
