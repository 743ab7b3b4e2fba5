"""The command line: one command a room, each a thin shell around a public function.

A command's module is imported when the command is used (or listed), and imports torch and the like only
inside its function, so that ``synthorax --help`` answers at once.
"""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import Annotated, cast

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import Abort, TyperException
from typer.main import get_command, get_group

from synthorax import __version__
from synthorax.errors import SynthoraxError

RESEARCH_ONLY = "Research only, not for diagnosis."
EPILOG = f"{RESEARCH_ONLY} --debug shows the traceback of an error."

#: Panel of the help -> command -> ``module:attribute`` below ``synthorax.cli``; a Typer app is a group of
#: commands, a function is one command, a name of two words is one more command of that group.
COMMANDS = {
    "The main job": {"demo": "runs:demo", "run": "runs:run"},
    "Step by step": {
        "studies": "studies:app",
        "concepts": "concepts:app",
        "perturb": "perturb:perturb",
        "edit": "making:edit",
        "cohort": "generation:cohort",
        "generate": "making:generate",
        "curate": "generation:app",
        "phantom": "phantom:app",
        "train": "train:app",
        "train classifier": "classifiers:train_classifier",
        "train judge": "judges:train_judge",
        "train detector": "downstream:train_detector",
        "train severity": "downstream:train_severity",
        "train image-text": "downstream:train_image_text",
        "predict": "downstream:predict",
        "evaluate": "classifiers:app",
        "evaluate samples": "samples:evaluate_samples",
        "evaluate fairness": "measures:fairness",
        "evaluate semantic": "measures:semantic",
        "evaluate attribution": "measures:attribution",
        "evaluate segmentation": "overlap:segmentation",
        "evaluate detection": "overlap:detection",
        "evaluate severity": "downstream:evaluate_severity",
        "evaluate anatomy": "downstream:anatomy",
        "evaluate judge": "judges:evaluate_judge",
        "bias": "bias:app",
        "stress": "stress:app",
        "recipes": "recipes:app",
        "readers": "readers:app",
        "score": "downstream:score",
        "rank": "rank:rank",
    },
    "Look": {
        "serve": "serve:serve",
        "models": "models:app",
        "report": "report:report",
        "runs": "run_folders:app",
        "doctor": "doctor:doctor",
    },
}
_WHERE = {name: (panel, target) for panel, commands in COMMANDS.items() for name, target in commands.items()}


def _command(function: Callable) -> TyperCommand:
    single = typer.Typer(add_completion=False)
    single.command()(function)
    return cast(TyperCommand, get_command(single))


def _load(name: str) -> TyperGroup | TyperCommand:
    panel, target = _WHERE[name]
    module, attribute = target.split(":")
    found = getattr(import_module(f"synthorax.cli.{module}"), attribute)
    command = get_group(found) if isinstance(found, typer.Typer) else _command(found)
    if isinstance(command, TyperGroup):
        more = {other.split()[1]: _load(other) for other in _WHERE if other.startswith(f"{name} ")}
        command.commands = {**command.commands, **more}
    command.name = name.split()[-1]
    command.rich_help_panel = None if " " in name else panel
    for each in (command, *getattr(command, "commands", {}).values()):
        each.epilog = EPILOG
    return command


class _LazyCommands(Mapping):
    """Command name -> command, imported when asked for."""

    def __getitem__(self, name: str) -> TyperGroup | TyperCommand:
        return _load(name)

    def __iter__(self) -> Iterator[str]:
        return (name for name in _WHERE if " " not in name)

    def __len__(self) -> int:
        return len([*iter(self)])


class _Group(TyperGroup):
    def __init__(self, **options):
        super().__init__(**{**options, "commands": _LazyCommands()})


def _no_exit_code(value: object, **options: object) -> None:
    """What a command returns is for Python callers and never the exit code."""


app = typer.Typer(cls=_Group, add_completion=False, no_args_is_help=True, result_callback=_no_exit_code)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"synthorax {__version__}")
        raise typer.Exit


@app.callback()
def synthorax(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; works after any command too.")
    ] = False,
) -> None:
    """Find what a chest X-ray dataset does not cover, make exactly those radiographs, prove that they help.

    Research only, not for diagnosis.
    """


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code: 0 done, 1 rows rejected under ``--strict``, 2 refused.

    Args:
        arguments: the words after ``synthorax``. ``--debug`` may stand anywhere among them.
    """
    debug = "--debug" in arguments
    try:
        words = [word for word in arguments if word != "--debug"]
        return get_command(app).main(args=words, prog_name="synthorax", standalone_mode=False) or 0
    except (SynthoraxError, TyperException, OSError) as error:
        if debug or (isinstance(error, OSError) and error.filename is None):
            raise
        message = error.format_message() if isinstance(error, TyperException) else str(error)
        if message.strip():
            print(f"error: {' '.join(message.split())}", file=sys.stderr)
        return 2
    except Abort:
        print("stopped.", file=sys.stderr)
        return 130


def main() -> None:
    """The ``synthorax`` script."""
    try:
        code = run(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    raise SystemExit(code)
