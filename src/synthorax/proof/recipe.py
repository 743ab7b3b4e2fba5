"""A protocol's values, each with its source, in YAML: what a paper did, what it leaves open, what is ours."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import yaml

from synthorax.classifiers.head import HeadConfig
from synthorax.classifiers.training import TrainingConfig
from synthorax.downstream.detector import DetectorConfig
from synthorax.downstream.fitting import FittingConfig
from synthorax.downstream.segmenter import SegmenterConfig
from synthorax.downstream.severity import SeverityConfig
from synthorax.errors import InputError, unknown_choice

FOLDER = Path(__file__).parent / "recipes"
SCALES = ("full", "tiny")
#: Sections whose keys are a config's; keys of the others are those that the recipe names.
CONFIGS: Mapping[str, type[TrainingConfig] | type[HeadConfig] | type[FittingConfig]] = {
    **dict.fromkeys(("training", "pretraining", "finetuning", "reader"), TrainingConfig),
    "head": HeadConfig,
    "segmentation": SegmenterConfig,
    "detection": DetectorConfig,
    "severity": SeverityConfig,
}
#: Sections of downstream tasks.
TASKS = ("segmentation", "detection", "severity")


@dataclass(frozen=True)
class Value:
    """A setting and where it comes from."""

    value: Any
    source: str


@dataclass(frozen=True)
class Recipe:
    """A protocol.

    Attributes:
        name: of the recipe.
        title: what it does, in a sentence.
        protocol: which of :data:`~synthorax.proof.trainings.PROTOCOLS` it is.
        sections: section -> key -> value with source, e.g. ``training`` -> ``epochs``.
        open: what the paper does not say, and what is done instead.
        tiny: ``section.key`` -> value at the scale that tests run.
    """

    name: str
    title: str
    protocol: str
    sections: Mapping[str, Mapping[str, Value]]
    open: tuple[str, ...] = ()
    tiny: Mapping[str, Any] | None = None

    def values(self, section: str) -> dict[str, Any]:
        """A section's settings without their sources; empty where there is no such section."""
        return {key: value.value for key, value in self.sections.get(section, {}).items()}

    def training(self, section: str, **given: Any) -> TrainingConfig:
        """A section as a training's config, with what the grid settles (backbone, seed)."""
        return TrainingConfig.from_mapping({**self.values(section), **given})

    def fitting(self, seed: int) -> FittingConfig | TrainingConfig:
        """The config of a recipe that trains one kind of model that is no classifier of backbones."""
        section = next(name for name in TASKS if name in self.sections)
        kind = CONFIGS[section]
        return kind(**{**self.values(section), "seed": seed})  # type: ignore[return-value]

    def with_values(self, given: Mapping[str, Any], source: str) -> "Recipe":
        """Other values for some ``section.key``.

        Raises:
            InputError: no such section or key (with the closest), or a value of another type.
        """
        sections = {name: dict(values) for name, values in self.sections.items()}
        for place, value in given.items():
            section, _, key = place.partition(".")
            if section not in sections:
                raise unknown_choice(f"the section of {place!r}", section, sections)
            own = [field.name for field in fields(CONFIGS[section])] if section in CONFIGS else []
            known = own or list(sections[section])
            if key not in known:
                raise unknown_choice(f"the key of {place!r}", key, known)
            there = sections[section].get(key)
            if there is not None and not _alike(there.value, value):
                raise InputError(f"{place} is {value!r}; expected something like {there.value!r}.")
            sections[section][key] = Value(value, source)
        return replace(self, sections=sections)

    def at_scale(self, scale: str) -> "Recipe":
        """The recipe itself, or its smallest form, which tests run."""
        if scale not in SCALES:
            raise unknown_choice("scale", scale, SCALES)
        return self if scale == "full" else self.with_values(self.tiny or {}, "scale tiny")

    def resolved(self) -> dict[str, Any]:
        """Plain values with sources, for ``config.json``."""
        return {name: {key: asdict(value) for key, value in values.items()} for name, values in self.sections.items()}  # fmt: skip

    def __str__(self) -> str:
        """Every value with its source, then what the paper leaves open."""
        rows = [
            (f"{section}.{key}", _shown(value.value), value.source) for section, key, value in self.rows()
        ]
        widths = [min(33, max(len(row[column]) for row in rows)) for column in (0, 1)]
        lines = [f"{self.name}: {self.title}", ""]
        lines += [f"{place:{widths[0]}}  {value:{widths[1]}}  {source}" for place, value, source in rows]
        return "\n".join([*lines, "", "Open in the paper:", *(f"- {point}" for point in self.open)])

    def rows(self) -> Iterable[tuple[str, str, Value]]:
        """Section, key and value, in order."""
        return ((section, key, value) for section, values in self.sections.items() for key, value in values.items())  # fmt: skip


def recipe_names() -> list[str]:
    """The shipped recipes."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def read_recipe(name: str) -> Recipe:
    """A shipped recipe by name, or a YAML file of the same form by path.

    Raises:
        InputError: no such recipe, or a file that is none.
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        if name not in recipe_names():
            raise unknown_choice("recipe", name, recipe_names())
        path = FOLDER / f"{name}.yaml"
    if not path.is_file():
        raise InputError(f"{path} does not exist; give a YAML file or the name of a shipped recipe.")
    try:
        said = yaml.safe_load(path.read_text())
        sections = {
            section: {key: Value(**entry) for key, entry in values.items()}
            for section, values in said["sections"].items()
        }
        recipe = Recipe(
            path.stem, said["title"], said["protocol"], sections, tuple(said["open"]), said["tiny"]
        )
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} is no recipe ({type(error).__name__}: {str(error).splitlines()[0]}); take a shipped one as a "
            "pattern, 'synthorax recipes show cars-paper --yaml'."
        ) from error
    for section in CONFIGS.keys() & sections.keys():
        recipe.with_values({f"{section}.{key}": value.value for key, value in sections[section].items()}, "")
    return recipe


def read_given(words: Sequence[str]) -> dict[str, Any]:
    """``section.key=value`` words, values in YAML.

    Raises:
        InputError: a word without ``=``, or a value that is no YAML.
    """
    given = {}
    for word in words:
        place, equals, text = word.partition("=")
        try:
            given[place] = yaml.safe_load(text)
        except yaml.YAMLError:
            equals = ""
        if not equals:
            raise InputError(f"--set is {word!r}; expected section.key=value, e.g. training.epochs=3.")
    return given


def _alike(there: Any, value: Any) -> bool:
    numbers = (int, float)
    if isinstance(there, bool) or isinstance(value, bool):
        return isinstance(there, bool) and isinstance(value, bool)
    both_numbers = isinstance(there, numbers) and isinstance(value, numbers)
    return there is None or value is None or both_numbers or isinstance(value, type(there))


def _shown(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("...\n").strip()
