"""Films to order from films that are there: twins of each case, and films that fill groups to parity (ChexGen).

A twin is asked for with its case's findings, sides, sex, age and view. Filling takes every combination of labels on its
own: the group with most films of it sets the number, and each other group gets what it lacks, the findings of a film with
those labels (of any group) on a person of the group.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from synthorax.classifiers.groups import UNKNOWN, groups_of
from synthorax.concepts import Vocabulary, label_column, vector_of
from synthorax.errors import InputError, unknown_choice
from synthorax.generation.cohort import COHORT
from synthorax.generation.prompts import FORMS, film_prompt
from synthorax.seeds import generator

#: As :data:`~synthorax.generation.cohort.COHORT`; ``source_image_id`` is the case, or the film that the findings are of.
ORDERED = {**COHORT, "source_image_id": pl.String, "concepts_unknown": pl.List(pl.String)}
BY = ("sex", "age_group", "view_position")


def matched(
    manifest: pl.DataFrame, table: pl.DataFrame, vocabulary: Vocabulary, form: str = "synthorax"
) -> pl.DataFrame:
    """A prompt for a twin of each film, in the manifest's order.

    Args:
        manifest: the cases.
        table: their concept table.
        vocabulary: that of the table.
        form: see :data:`~synthorax.generation.prompts.FORMS`.

    Returns:
        Columns as :data:`ORDERED`; ``synthorax generate`` takes it. A twin is a patient of its own.

    Raises:
        InputError: an unknown form, or a film without a row in the table.
    """
    cases = _cases(manifest, table, form)
    rows = [_row(f"twin-{i:06d}", case, case, vocabulary, form) for i, case in enumerate(cases)]
    return pl.DataFrame(rows, schema=ORDERED)


def filling(
    manifest: pl.DataFrame,
    table: pl.DataFrame,
    vocabulary: Vocabulary,
    by: Sequence[str] = ("sex", "age_group"),
    form: str = "synthorax",
    seed: int = 0,
) -> pl.DataFrame:
    """Prompts for the films that each group lacks to have as many of each combination of labels as the fullest.

    Args:
        manifest, table, vocabulary, form: as in :func:`matched`.
        by: axes whose crossings are the groups, of :data:`BY`; films of which an axis is unknown are not counted.
        seed: which films lend their findings and persons.

    Returns:
        Columns as :data:`ORDERED`.

    Raises:
        InputError: as :func:`matched`; an unknown axis; fewer than two groups.
    """
    for axis in by:
        if axis not in BY:
            raise unknown_choice("by", axis, BY)
    groups = groups_of(manifest).select("image_id", *by)
    cases = _cases(manifest, table, form)
    members: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    findings: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for case, (_, *group) in zip(cases, groups.iter_rows(), strict=True):
        if UNKNOWN not in group:
            case["combination"] = tuple(
                label for label in vocabulary.labels if case["said"][label_column(label)] == 1
            )
            members.setdefault(tuple(group), []).append(case)
            findings.setdefault(case["combination"], []).append(case)
    if len(members) < 2:
        raise InputError(f"the films are of {len(members)} groups by {', '.join(by)}; expected two or more to fill up.")  # fmt: skip
    rows: list[dict] = []
    for combination in sorted(findings):
        counts = {
            group: sum(case["combination"] == combination for case in some) for group, some in members.items()
        }
        for group in sorted(members):
            rng = generator("fill", seed, combination, group)
            for _ in range(max(counts.values()) - counts[group]):
                of, who = (
                    some[int(rng.integers(len(some)))] for some in (findings[combination], members[group])
                )
                rows.append(_row(f"fill-{len(rows):06d}", of, who, vocabulary, form))
    return pl.DataFrame(rows, schema=ORDERED)


def _cases(manifest: pl.DataFrame, table: pl.DataFrame, form: str) -> list[dict[str, Any]]:
    """The manifest's rows, each with its row of the table under ``said``."""
    if form not in FORMS:
        raise unknown_choice("form", form, FORMS)
    key = "image_id" if "image_id" in table.columns else "study_id"
    said = {row[key]: row for row in table.iter_rows(named=True)}
    for name in manifest[key]:
        if name not in said:
            raise InputError(f"{key} {name!r} has no row in the concept table; annotate these studies again.")
    return [{**row, "said": said[row[key]]} for row in manifest.iter_rows(named=True)]


def _row(
    name: str, of: Mapping[str, Any], who: Mapping[str, Any], vocabulary: Vocabulary, form: str
) -> dict[str, Any]:
    """A prompt for the findings of one film on the person of another."""
    vector = vector_of(of["said"], vocabulary)
    concepts = vocabulary.ordered(vector.present) or [vocabulary.unremarkable]
    sides = {entry["concept"]: entry["side"] for entry in of.get("sides") or [] if entry["concept"] in concepts}  # fmt: skip
    view = who["view_position"] if who["view_position"] in ("PA", "AP") else None
    return {
        "study_id": name,
        "patient_id": name,
        "prompt": film_prompt(form, concepts, vocabulary, sides=sides, sex=who["sex"], age=who["age"], race=who["race"], view=view),
        "concepts_after": concepts,
        "concepts_unknown": [concept for concept in vocabulary.concepts if of["said"][concept] is None],
        "labels_after": [label for label in vocabulary.labels if of["said"][label_column(label)] == 1],
        "sides": [{"concept": concept, "side": side} for concept, side in sides.items()],
        "severities": [],
        "sex": who["sex"],
        "age": who["age"],
        "race": who["race"],
        "view_position": view,
        "group": None,
        "form": form,
        "source_image_id": of["image_id"],
    }  # fmt: skip
