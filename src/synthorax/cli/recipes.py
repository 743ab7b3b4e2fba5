"""``synthorax recipes``: the papers' protocols, value by value, and run."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="The papers' training protocols, value by value, and run.")

Name = Annotated[
    str, typer.Argument(help="A recipe's name (see 'recipes list'), or a YAML file of that form.")
]
#: The protocol that makes its own films and runs others.
WHOLE = "chexgen-small"
Scale = Annotated[str, typer.Option(help="full: the paper's values; tiny: for a test.")]


@app.command("list")
def list_recipes() -> None:
    """Every recipe: protocols for classifiers, and the trainings of diffusion models with their command."""
    from synthorax.diffusion.recipes import shipped_recipes
    from synthorax.proof import read_recipe, recipe_names

    for name in recipe_names():
        typer.echo(f"{name:22} synthorax recipes run {name}\n    {read_recipe(name).title}")
    for name, (command, title) in shipped_recipes().items():
        typer.echo(f"{name:22} synthorax {command} {name}\n    {title}")


@app.command()
def show(
    name: Name,
    scale: Scale = "full",
    as_yaml: Annotated[bool, typer.Option("--yaml", help="The file itself, a pattern for your own.")] = False,
) -> None:
    """Each value with its source, and what the paper leaves open."""
    from synthorax.diffusion.recipes import shipped_recipes
    from synthorax.proof import read_recipe
    from synthorax.proof.recipe import FOLDER

    if name in shipped_recipes():
        from synthorax.diffusion import recipes

        typer.echo((Path(recipes.__file__).parent / f"{name}.yaml").read_text().rstrip())
        return
    recipe = read_recipe(name).at_scale(scale)
    typer.echo((FOLDER / f"{name}.yaml").read_text().rstrip() if as_yaml else recipe)


@app.command()
def run(
    name: Name,
    out: Annotated[Path, typer.Option(help="Run folder; the same command over a killed run finishes it.")],
    studies: Annotated[Path | None, typer.Option(help="Real films: a studies.parquet.")] = None,
    concepts: Annotated[Path | None, typer.Option(help="Their labels: the concepts.parquet.")] = None,
    annotations: Annotated[
        list[Path] | None,
        typer.Option(
            help="Instead of concepts, for segmentation and detection: a folder of 'studies annotations'; repeat."
        ),
    ] = None,
    synthetic: Annotated[
        list[str] | None,
        typer.Option(help="A dataset folder, or NAME=FOLDER to name its arm; repeat for more."),
    ] = None,
    scale: Scale = "full",
    given: Annotated[
        list[str] | None, typer.Option("--set", help="Another value: section.key=value; repeat for more.")
    ] = None,
    reader: Annotated[
        Path | None, typer.Option(help="A classifier of concepts that reads table 4; else one is trained.")
    ] = None,
    device: Annotated[str, typer.Option(help="torch device: cpu, cuda, cuda:1, mps.")] = "cpu",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say films, evaluations, hours and disk; train nothing.")
    ] = False,
) -> None:
    """Train every seed, backbone and arm of a protocol, and print its tables as HTML, CSV and LaTeX.

    Without --studies, at --scale tiny, a few virtual patients and edits are made first; chexgen-small makes all it needs.
    """
    from synthorax.errors import InputError
    from synthorax.proof import read_recipe, run_recipe
    from synthorax.proof.recipe import read_given

    is_whole = read_recipe(name).protocol == WHOLE
    if studies is None and scale != "tiny" and not is_whole:
        raise InputError("--studies is missing; give --studies, --concepts and --synthetic, or --scale tiny.")
    recipe = read_recipe(name).at_scale(scale).with_values(read_given(given or []), "--set")
    if is_whole and (dry_run or studies or concepts or annotations or synthetic):
        raise InputError(f"{name} makes its own films; leave films and --dry-run out.")
    if dry_run:
        from synthorax.proof.running import estimate_recipe
        from synthorax.proof.trainings import PROTOCOLS

        if recipe.protocol not in PROTOCOLS:
            raise InputError(
                f"--dry-run knows classifiers' recipes alone; {name} trains another kind of model."
            )
        if studies is None or concepts is None:
            raise InputError(
                "--dry-run needs --studies, --concepts and --synthetic: it reads them, and trains nothing."
            )
        typer.echo(estimate_recipe(recipe, studies, concepts, synthetic or [], device))
        return
    options = {
        "--studies": [studies],
        "--concepts": [concepts],
        "--annotations": annotations,
        "--synthetic": synthetic,
        "--set": given,
        "--reader": [reader],
    }
    said = [
        f"{option} {value}"
        for option, values in options.items()
        for value in values or []
        if value is not None
    ]
    command = " ".join(["synthorax recipes run", name, "--scale", scale, *said, "--out", str(out)])
    if is_whole:
        from synthorax.proof.small import run_small

        typer.echo(run_small(recipe, out, device, command))
        return
    typer.echo(
        run_recipe(
            recipe, out, studies=studies, concepts=concepts, annotations=annotations or [], synthetic=synthetic or [],
            reader=reader, device=device, command=command,
        )
    )  # fmt: skip
