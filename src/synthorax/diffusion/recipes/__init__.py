"""Training recipes: YAML that holds what differs from a config's defaults."""

from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from synthorax.errors import InputError, unknown_choice

C = TypeVar("C", bound=BaseModel)


def shipped_recipes() -> dict[str, tuple[str, str]]:
    """Name -> the command that takes it, and what it is (the file's first comment line)."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("*.yaml")):
        first = path.read_text().splitlines()[0].removeprefix("# ")
        last = path.stem.split("-")[-1]
        kind = last if last in ("autoencoder", "control", "alignment") else "diffusion"
        found[path.stem] = f"train {kind}", first
    return found


def read_recipe(name: str, kind: type[C]) -> C:
    """Read a shipped recipe by name or a YAML file by path.

    Raises:
        InputError: no such recipe, an unknown key, or a value of the wrong type; names file and key.
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        path = Path(__file__).parent / f"{name}.yaml"
        if not path.is_file():
            raise unknown_choice(
                "recipe", name, [shipped.stem for shipped in Path(__file__).parent.glob("*.yaml")]
            )
    if not path.is_file():
        raise InputError(f"{path} does not exist; give a YAML file or the name of a shipped recipe.")
    try:
        return kind(**(yaml.safe_load(path.read_text()) or {}))
    except (ValidationError, yaml.YAMLError, TypeError) as error:
        if not isinstance(error, ValidationError):
            raise InputError(f"{path} is not a YAML mapping: {str(error).splitlines()[0]}") from error
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            raise unknown_choice(f"{path.name}: key", place, kind.model_fields) from error
        raise InputError(f"{path.name}: {place} is {first['input']!r}; {first['msg']}.") from error
