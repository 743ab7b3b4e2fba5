"""``synthorax doctor``: what this machine has and what each command would need."""

import json
from typing import Annotated

import typer

#: Command (with an option, where that alone asks for more) -> what it needs of the machine, and of the user.
NEEDS: dict[str, tuple[tuple[str, ...], str]] = {
    "demo": (("model", "anatomy"), ""),
    "run": (("model",), "a set of films"),
    "studies": ((), "a set of films"),
    "concepts": ((), "a set of films or reports"),
    "perturb": ((), "concepts"),
    "edit": (("model",), "a plan and its films"),
    "edit --ray": (("model", "ray"), "the same"),
    "cohort": ((), "a specification"),
    "generate": (("model",), "prompts"),
    "generate --model": (("chexgen",), "prompts, ChexGen's weights"),
    "curate": ((), "films with label columns, or texts with their sources"),
    "phantom": (("anatomy",), ""),
    "phantom build-atlas": (("ct",), "a CT with labels"),
    "train": ((), "films with reports"),
    "train diffusion --start": (("lora",), "films with reports, a recipe with lora_rank"),
    "train classifier": ((), "films with concepts"),
    "train segmenter --encoder": (("segment",), "films with masks"),
    "predict": ((), "a trained model and films"),
    "evaluate": ((), "a classifier, films with concepts"),
    "bias": ((), "a classifier, films with concepts"),
    "stress": (("model",), "a model and a table of films"),
    "stress MODEL.onnx": (("model", "onnx"), "the same"),
    "recipes": ((), "films with concepts, synthetic films"),
    "recipes run --scale tiny": (("model", "anatomy"), ""),
    "readers": (("workbench",), "a run"),
    "score": ((), "edits with their texts"),
    "rank": ((), "several films a prompt, and a classifier"),
    "serve": (("workbench",), "a run"),
    "models": (("model",), ""),
    "report": ((), "a run"),
    "runs": ((), "a run"),
    "runs export --to hf": (("hf",), "a run"),
    "doctor": ((), ""),
}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Say what this machine has, which models are at hand, and what each command would need."""
    from synthorax.runs.machine import describe_machine, what_is_missing

    sections = describe_machine()
    missing = what_is_missing(sections)
    sections["commands"] = {}
    for name, (needs, of_user) in NEEDS.items():
        lacks = " ".join(lack for need in needs if (lack := missing[need]))
        ready = f"ready, given {of_user}" if of_user else "ready"
        sections["commands"][name] = lacks or ready
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
