"""A cohort to order: how many films of which findings, sex, age, race, view and severity, as a table of prompts.

Where a group lists several values of something, its films are spread over all crossings of them in proportion: the
crossing's count differs from its share by less than one film. What is listed nowhere is not said in the prompt.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, product
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import polars as pl
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from synthorax.concepts import ConceptVector, Vocabulary
from synthorax.errors import InputError, unknown_choice
from synthorax.generation.prompts import FORMS, film_prompt
from synthorax.perturbations.prompts import SEVERITIES, SIDES
from synthorax.seeds import generator
from synthorax.studies.values import MAX_AGE, SEXES

VIEWS = ("PA", "AP")
#: A value, several in equal parts, or several with their weights.
Choice = str | list[str] | dict[str, Annotated[float, Field(gt=0)]]

#: Columns of the table: what ``synthorax generate`` reads, and who was asked for, under ``study_id``.
COHORT = {
    "study_id": pl.String,
    "patient_id": pl.String,
    "prompt": pl.String,
    "concepts_after": pl.List(pl.String),
    "labels_after": pl.List(pl.String),
    "sides": pl.List(pl.Struct({"concept": pl.String, "side": pl.String})),
    "severities": pl.List(pl.Struct({"concept": pl.String, "severity": pl.String})),
    "sex": pl.String,
    "age": pl.Float64,
    "race": pl.String,
    "view_position": pl.String,
    "group": pl.Int32,
    "form": pl.String,
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Group(_Strict):
    """Films that are alike.

    Attributes:
        n: how many.
        findings: concepts of the vocabulary, all of which each film shows; none is a normal film.
        side: of the findings that have one.
        severity: of the first finding.
        sex, race, view: who and how.
        age: ranges of whole years, as '40-64'; an age is drawn evenly within its range.
    """

    n: int = Field(gt=0)
    findings: list[str] = Field(default_factory=list)
    side: Choice | None = None
    severity: Choice | None = None
    sex: Choice | None = None
    age: Choice | None = None
    race: Choice | None = None
    view: Choice | None = None


class CohortSpec(_Strict):
    """A cohort, as its YAML says it; :func:`read_cohort` checks the words.

    Attributes:
        form: the prompts' form: synthorax, roentgen-v2 or chexgen.
        vocabulary: where the findings' names come from.
        groups: the films.
    """

    form: str = "synthorax"
    vocabulary: str = "corpa"
    groups: list[Group] = Field(min_length=1)


#: What a group may list, with the words that it may use; None leaves them free.
_TRAITS: dict[str, tuple[str, ...] | None] = {
    "side": SIDES,
    "severity": SEVERITIES,
    "sex": SEXES,
    "age": None,
    "race": None,
    "view": VIEWS,
}


@dataclass(frozen=True)
class Cohort:
    """A checked specification and its vocabulary."""

    spec: CohortSpec
    vocabulary: Vocabulary


def read_cohort(path: Path | str) -> Cohort:
    """Read and check a cohort's YAML.

    Raises:
        InputError: no such file, not YAML, an unknown key or word, findings that cannot be in one film; names group
            and key.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist; expected a cohort's YAML (see docs/generation.md).")
    try:
        spec = CohortSpec.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not YAML: {' '.join(str(error).split())}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        if first["type"] == "extra_forbidden":
            known = Group.model_fields if "groups" in first["loc"] else CohortSpec.model_fields
            raise unknown_choice(f"{path}: key {place}", str(first["loc"][-1]), known) from error
        raise InputError(
            f"{path}: {place} is {first['input']!r}; {first['msg']}. See docs/generation.md for the form."
        ) from error
    if spec.form not in FORMS:
        raise unknown_choice(f"{path}: form", spec.form, FORMS)
    vocabulary = Vocabulary.load(spec.vocabulary)
    for number, group in enumerate(spec.groups, start=1):
        _check(f"{path} group {number}", spec.form, group, vocabulary)
    return Cohort(spec, vocabulary)


def _check(place: str, form: str, group: Group, vocabulary: Vocabulary) -> None:
    for name in group.findings:
        if name not in vocabulary.by_name:
            raise unknown_choice(f"{place}: finding", name, vocabulary.concepts)
    if not vocabulary.is_valid(group.findings):
        raise InputError(
            f"{place}: {' and '.join(group.findings)} cannot occur in one film (never_together in vocabulary "
            f"{vocabulary.name!r}). Split the group."
        )
    for trait, allowed in _TRAITS.items():
        for value, _ in _choices(getattr(group, trait)):
            if value is None:
                continue
            if allowed is not None and value not in allowed:
                raise unknown_choice(f"{place}: {trait}", value, allowed)
            if trait == "age":
                _years(place, value)
    if group.side is not None and not any(vocabulary.by_name[name].sided for name in group.findings):
        raise InputError(
            f"{place}: side is given, but none of its findings has a side. Take it out, or add a finding."
        )
    if group.severity is not None and not group.findings:
        raise InputError(
            f"{place}: severity is given, but no finding. Take it out, or add the finding it is of."
        )
    for trait, forms in (("race", ("roentgen-v2", "chexgen")), ("view", ("synthorax",))):
        if getattr(group, trait) is not None and form not in forms:
            raise InputError(
                f"{place}: {trait} is given, which prompts of the form {form} cannot say; expected the form "
                f"{' or '.join(forms)}. Take it out, or change the form."
            )


def _years(place: str, value: str) -> tuple[int, int]:
    low, dash, high = value.partition("-")
    if not (dash and low.strip().isdecimal() and high.strip().isdecimal()) or not int(low) <= int(high) <= MAX_AGE:  # fmt: skip
        raise InputError(
            f"{place}: age is {value!r}; expected a range of years like 40-64, up to {MAX_AGE}. Correct it."
        )
    return int(low), int(high)


def _choices(given: Choice | None) -> list[tuple[str | None, float]]:
    """(value, share), shares adding up to one; a value that is not given is None."""
    if given is None or isinstance(given, str):
        return [(given, 1.0)]
    weights = given if isinstance(given, dict) else dict.fromkeys(given, 1.0)
    total = sum(weights.values())
    return [(value, weight / total) for value, weight in weights.items()]


def cohort_table(cohort: Cohort, seed: int = 0) -> pl.DataFrame:
    """The films of a cohort, one row a prompt, in the order of the groups.

    Args:
        cohort: from :func:`read_cohort`.
        seed: draws ages, and which crossings get the films that cannot be shared out evenly; groups are drawn apart.

    Returns:
        Columns as :data:`COHORT`. ``concepts_after`` names ``unremarkable`` where there is no finding.
    """
    rows = [row for number, group in enumerate(cohort.spec.groups, start=1) for row in _rows(cohort, number, group, seed)]  # fmt: skip
    return pl.DataFrame(rows, schema=COHORT)


def _rows(cohort: Cohort, number: int, group: Group, seed: int) -> Iterator[dict[str, Any]]:
    vocabulary = cohort.vocabulary
    crossings = [*product(*(_choices(getattr(group, trait)) for trait in _TRAITS))]
    shares = np.array([np.prod([share for _, share in crossing]) for crossing in crossings])
    rng = generator(seed, "cohort", number)
    counts = _shared_out(group.n, shares, rng)
    concepts = vocabulary.ordered(group.findings) or [vocabulary.unremarkable]
    labels = [*vocabulary.true_labels(ConceptVector(frozenset(concepts)))]
    sided = [name for name in concepts if vocabulary.by_name[name].sided]
    films = count(start=0)
    for crossing, wanted in zip(crossings, counts, strict=True):
        trait = dict(zip(_TRAITS, (value for value, _ in crossing), strict=True))
        for _ in range(wanted):
            name = f"cohort-{number}-{next(films):06d}"
            age = None
            if trait["age"] is not None:
                low, high = _years("", trait["age"])
                age = float(rng.integers(low, high + 1))
            sides = {concept: trait["side"] for concept in sided} if trait["side"] else {}
            severities = {group.findings[0]: trait["severity"]} if trait["severity"] else {}
            yield {
                "study_id": name,
                "patient_id": name,
                "prompt": film_prompt(
                    cohort.spec.form, concepts, vocabulary, sides=sides, severities=severities,
                    sex=trait["sex"], age=age, race=trait["race"], view=trait["view"],
                ),
                "concepts_after": concepts,
                "labels_after": labels,
                "sides": [{"concept": key, "side": side} for key, side in sides.items()],
                "severities": [{"concept": key, "severity": value} for key, value in severities.items()],
                "sex": trait["sex"],
                "age": age,
                "race": trait["race"],
                "view_position": trait["view"],
                "group": number,
                "form": cohort.spec.form,
            }  # fmt: skip


def _shared_out(n: int, shares: np.ndarray, rng: np.random.Generator) -> list[int]:
    """``n`` items over the shares: a systematic sample, so that each count is its share rounded up or down."""
    order = rng.permutation(len(shares))
    ends = np.floor(np.cumsum(shares[order]) * n + rng.random()).astype(int)
    ends[-1] = n
    counts = np.empty(len(shares), dtype=int)
    counts[order] = np.diff(np.concatenate([[0], ends]))
    return counts.tolist()
