"""``synthorax doctor``: what this machine has and what each command would need."""

import json
from typing import Annotated

import typer

#: Command -> what it cannot do without; commands that are not named need films and a processor only.
NEEDS = {"demo": ("model", "anatomy"), "run": ("model",), "edit": ("model",), "phantom": ("anatomy",)}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Say what this machine has, which models are at hand, and what each command would need."""
    from synthorax.cli import COMMANDS
    from synthorax.runs.machine import describe_machine, what_is_missing

    sections = describe_machine()
    missing = what_is_missing(sections["at hand"])
    sections["commands"] = {
        name: " ".join(lack for need in NEEDS.get(name, ()) if (lack := missing[need])) or "ready"
        for commands in COMMANDS.values()
        for name in commands
    }
    if as_json:
        typer.echo(json.dumps(sections, indent=2))
        return
    for title, facts in sections.items():
        typer.echo(f"\n{title}")
        for name, value in facts.items():
            shown = ", ".join(map(str, value)) if isinstance(value, list) else value
            typer.echo(f"  {name:<20} {'none' if shown in (None, '') else shown}")
    hardware = sections["hardware"]
    typer.echo(
        f"\nbfloat16 multiplies {hardware['bfloat16_speedup']} x as fast as float32 on this processor; "
        f"--dtype auto takes {hardware['dtype_auto']}."
    )
