"""The plan: which film is edited into what, one row an edit.

Each draw comes from ``generator(seed, image_id, type, index)`` and the row's own vector, so a row's edits
are the same in any order and in any subset of the rows. ``strategy="coverage"`` also looks at how
often each combination occurs: then they are the same as long as the coverage is.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from synthorax.concepts import ConceptVector, Vocabulary
from synthorax.concepts.table import check_concept_table, vector_of
from synthorax.errors import InputError, unknown_choice
from synthorax.perturbations.kinds import TYPES, weighted_candidates
from synthorax.perturbations.prompts import SIDES, prompt
from synthorax.seeds import derive_seed, generator

if TYPE_CHECKING:
    from synthorax.perturbations.gap_closing import GapWeights

STRATEGIES = ("uniform", "coverage")
MAX_PER_TYPE = 2

#: Column -> type of plan.parquet. ``index`` counts the edits of a type for an image: 0 or 1.
PLAN = {
    "edit_id": pl.String,
    "study_id": pl.String,
    "patient_id": pl.String,
    "image_id": pl.String,
    "perturbation_type": pl.String,
    "index": pl.Int32,
    "concepts_before": pl.List(pl.String),
    "concepts_after": pl.List(pl.String),
    "concepts_unknown": pl.List(pl.String),
    "labels_before": pl.List(pl.String),
    "labels_after": pl.List(pl.String),
    "prompt": pl.String,
    "inversion_prompt": pl.String,
    "seed": pl.Int64,
}


@dataclass
class Plan:
    """The edits and what could not be planned.

    Attributes:
        edits: one row an edit, columns :data:`PLAN`.
        tally: (type, outcome) -> count. Outcomes: ``planned``; ``impossible`` (the film allows no such
            perturbation at all); ``exhausted`` (fewer different targets than asked for); ``over budget``.
        skipped: reason -> number of rows that were not considered.
    """

    edits: pl.DataFrame
    tally: Counter = field(default_factory=Counter)
    skipped: Counter = field(default_factory=Counter)

    def sentence(self) -> str:
        """What was planned and what was not, in one sentence."""
        parts = [
            f"{count} {kind} {outcome}" for (kind, outcome), count in sorted(self.tally.items()) if count
        ]
        parts += [f"{count} rows skipped ({reason})" for reason, count in sorted(self.skipped.items())]
        return f"{self.edits.height} edits: " + ("; ".join(parts) or "nothing to plan") + "."


def plan(
    concept_table: pl.DataFrame, vocabulary: Vocabulary, types: Iterable[str] = TYPES[:3], **options: Any
) -> pl.DataFrame:
    """The edits of :func:`make_plan`, columns :data:`PLAN`, without the tally."""
    return make_plan(concept_table, vocabulary, types, **options).edits


def make_plan(
    concept_table: pl.DataFrame,
    vocabulary: Vocabulary,
    types: Iterable[str] = TYPES[:3],
    per_type: int = 2,
    budget: int | None = None,
    strategy: str = "uniform",
    seed: int = 0,
    sides: Mapping[str, Mapping[str, str]] | None = None,
    include_other_findings: bool = False,
) -> Plan:
    """Plan up to ``per_type`` different perturbations of each type for each film (CARS: two).

    Args:
        concept_table: one row a film, as ``synthorax concepts annotate`` writes it.
        vocabulary: the vocabulary the table was made with, its policy in force.
        types: perturbation types; the three of CARS by default, ``outer_class`` is CoRPA's.
        per_type: 1 or 2.
        budget: at most so many edits in all; None for no limit. ``uniform`` takes a random subset that every
            edit has the same chance to be in; ``coverage`` takes those that close most gap.
        strategy: ``uniform`` draws as CARS does; ``coverage`` prefers what never or rarely occurs.
        seed: the run's seed.
        sides: image_id -> concept -> left, right or bilateral, for the prompts; by default what the reports
            in ``evidence`` say of the findings that are there. New findings get a side, by lot, where nothing says one.
        include_other_findings: perturb films that show only findings outside the vocabulary as well.

    Raises:
        InputError: a type, strategy or number that does not exist; a table without its columns.
    """
    kinds = _checked(types, per_type, budget, strategy)
    check_concept_table(concept_table, vocabulary)
    weights = None
    if strategy == "coverage":
        from synthorax.perturbations.gap_closing import GapWeights

        weights = GapWeights.of(concept_table, vocabulary)
    tally: Counter[tuple[str, str]] = Counter()
    skipped: Counter[str] = Counter()
    edits: list[dict[str, Any]] = []
    for row in concept_table.iter_rows(named=True):
        vector = vector_of(row, vocabulary)
        if row.get("other_findings") and not include_other_findings:
            skipped["only findings outside the vocabulary"] += 1
            continue
        if not vector.present and set(vocabulary.pathologies) <= vector.unknown:
            skipped["every concept unknown"] += 1
            continue
        image_id = str(row.get("image_id") or row["study_id"])
        said = spoken_sides(row) if sides is None else sides.get(image_id, {})
        for kind in kinds:
            targets = _choose(kind, vector, vocabulary, per_type, (seed, image_id, kind), weights)
            tally[kind, "exhausted" if targets else "impossible"] += per_type - len(targets)
            edits += [
                _edit(row, image_id, kind, index, vector, target, vocabulary, said, seed)
                for index, target in enumerate(targets)
            ]
    kept = edits if budget is None or len(edits) <= budget else _within_budget(edits, budget, seed, weights)
    in_plan = Counter(edit["perturbation_type"] for edit in kept)
    drawn = Counter(edit["perturbation_type"] for edit in edits)
    for kind in kinds:
        tally[kind, "planned"] = in_plan[kind]
        tally[kind, "over budget"] = drawn[kind] - in_plan[kind]
    return Plan(pl.DataFrame(kept, schema=PLAN), tally, skipped)


def spoken_sides(row: Mapping[str, Any]) -> dict[str, str]:
    """Concept -> side, where ``evidence`` asserts the concept with a side; both sides are bilateral."""
    sides: dict[str, set[str]] = {}
    for mention in row.get("evidence") or ():
        if mention["state"] == "asserted" and mention["laterality"]:
            sides.setdefault(mention["concept"], set()).add(mention["laterality"])
    return {concept: said.pop() if len(said) == 1 else "bilateral" for concept, said in sides.items()}


def _new_sides(
    before: ConceptVector,
    after: ConceptVector,
    vocabulary: Vocabulary,
    sides: Mapping[str, str],
    parts: tuple[object, ...],
) -> dict[str, str]:
    """A side for each finding that comes new and has one, since a model puts 'left effusion' somewhere and 'effusion' nowhere.

    A label's findings share a side: that of one that is or was there, else left or right by lot (``parts``).
    """
    drawn: dict[str, str] = {}
    by_label: dict[str | None, str] = {}
    for name in vocabulary.ordered(before.present | after.present):
        if vocabulary.by_name[name].sided and name in sides:
            by_label.setdefault(vocabulary.label_of(name), sides[name])
    for name in vocabulary.ordered(after.present - before.present):
        if vocabulary.by_name[name].sided and name not in sides:
            label = vocabulary.label_of(name)
            lot = generator(*parts, "side", label).choice(SIDES[:2])
            drawn[name] = by_label.setdefault(label, str(lot))
    return drawn


def _choose(
    kind: str,
    vector: ConceptVector,
    vocabulary: Vocabulary,
    per_type: int,
    parts: tuple[object, ...],
    weights: "GapWeights | None",
) -> list[ConceptVector]:
    """Up to ``per_type`` different targets; each draw has its own generator and skips the draws before."""
    choices, chances = weighted_candidates(kind, vector, vocabulary)
    left = np.ones(len(choices), dtype=bool)
    if weights is not None and choices:
        chances = chances * weights.of_targets(choices)
    targets = []
    for index in range(min(per_type, len(choices))):
        chance = chances * left if (chances * left).sum() > 0 else left.astype(float)
        pick = generator(*parts, index).choice(len(choices), p=chance / chance.sum())
        targets.append(choices[pick].target)
        left[pick] = False
    return targets


def _edit(
    row: Mapping[str, Any],
    image_id: str,
    kind: str,
    index: int,
    before: ConceptVector,
    after: ConceptVector,
    vocabulary: Vocabulary,
    sides: Mapping[str, str],
    seed: int,
) -> dict[str, Any]:
    return {
        "edit_id": f"{image_id}-{kind}-{index}",
        "study_id": row["study_id"],
        "patient_id": row.get("patient_id"),
        "image_id": image_id,
        "perturbation_type": kind,
        "index": index,
        "concepts_before": vocabulary.ordered(before.present),
        "concepts_after": vocabulary.ordered(after.present),
        "concepts_unknown": vocabulary.ordered(after.unknown),
        "labels_before": _labels(before, vocabulary),
        "labels_after": _labels(after, vocabulary),
        "prompt": prompt(
            after.present,
            vocabulary,
            {**_new_sides(before, after, vocabulary, sides, (seed, image_id, kind, index)), **sides},
        ),
        "inversion_prompt": prompt(before.present, vocabulary, sides),
        # One a film: its edits share their noise, and so their inversion.
        "seed": derive_seed(seed, image_id),
    }


@lru_cache(maxsize=200_000)
def _labels(vector: ConceptVector, vocabulary: Vocabulary) -> list[str]:
    return list(vocabulary.true_labels(vector))


def _within_budget(
    edits: list[dict[str, Any]], budget: int, seed: int, weights: "GapWeights | None"
) -> list[dict[str, Any]]:
    """The edits that a budget keeps, in the plan's order."""
    order = [derive_seed(seed, "budget", edit["edit_id"]) for edit in edits]
    if weights is None:
        kept = set(np.argsort(order, kind="stable")[:budget].tolist())
    else:
        kept = weights.greedy([edit["concepts_after"] for edit in edits], order, budget)
    return [edit for position, edit in enumerate(edits) if position in kept]


def _checked(types: Iterable[str], per_type: int, budget: int | None, strategy: str) -> list[str]:
    kinds = list(dict.fromkeys(types))
    for kind in kinds:
        if kind not in TYPES:
            raise unknown_choice("perturbation type", kind, TYPES)
    if strategy not in STRATEGIES:
        raise unknown_choice("strategy", strategy, STRATEGIES)
    if not 1 <= per_type <= MAX_PER_TYPE:
        raise InputError(
            f"per_type is {per_type}; expected 1 or 2, the most that CARS makes of one film and type."
        )
    if budget is not None and budget < 1:
        raise InputError(f"budget is {budget}; expected at least 1 edit, or no budget at all.")
    return kinds
