"""The four perturbations of CARS (section 3) and CoRPA, each as its full list of possible targets.

Notation: P the concepts present, U the unknown ones, L(v) the labels that hold in v, C(l) the concepts that
stand for label l, S a set of one to three concepts of C(l) that are not unknown.

    intra-class   P - C(l) + S,  l in L, S != P & C(l)             the labels stay
    insertion     P + S,         l not in L, S free of P           the labels stay, and l joins them
    deletion      P - C(l),      l in L                            exactly l goes (and parents of l, without it)
    outer-class   P - C(k) + S,  k in L, l not in L, S free of P   l takes the place of k

``unremarkable`` leaves where a pathology enters, and comes where the last one goes. Unknown concepts are
neither inserted nor deleted: U stays as it is (but whether a film with a finding is unremarkable is known:
it is not). After each step the labels are derived again, and a target whose labels are not those of the
table is no candidate. Labels that hold are compared; whether one is absent or unknown is not.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from synthorax.concepts import ConceptVector, Vocabulary
from synthorax.errors import unknown_choice

TYPES = ("intra_class", "insertion", "deletion", "outer_class")
#: At most so many concepts stand for a label after a perturbation; reports rarely name more.
MAX_CONCEPTS = 3


@dataclass(frozen=True)
class Candidate:
    """One possible target and its chance in the plain draw (see :func:`candidates`)."""

    target: ConceptVector
    group: tuple[str, str]
    size: int


def candidates(
    perturbation_type: str, vector: ConceptVector, vocabulary: Vocabulary
) -> tuple[Candidate, ...]:
    """Every target that a perturbation allows from here, in a fixed order.

    Raises:
        InputError: a type that does not exist.
    """
    if perturbation_type not in TYPES:
        raise unknown_choice("perturbation type", perturbation_type, TYPES)
    vector = vocabulary.suppressed(vector)
    before = frozenset(vocabulary.true_labels(vector)) - {vocabulary.no_finding_label}
    found: dict[ConceptVector, Candidate] = {}
    for candidate in _PROPOSALS[perturbation_type](vector, before, vocabulary):
        target = candidate.target
        after = frozenset(vocabulary.true_labels(target)) - {vocabulary.no_finding_label}
        kept = _is_the_change(before, after, candidate.group, vocabulary)
        if kept and target.present != vector.present and vocabulary.is_valid(target.present):
            found.setdefault(target, candidate)
    return tuple(found.values())


@lru_cache(maxsize=200_000)
def weighted_candidates(
    perturbation_type: str, vector: ConceptVector, vocabulary: Vocabulary
) -> tuple[tuple[Candidate, ...], np.ndarray]:
    """The candidates and their chances in the plain draw; a cohort has few distinct vectors."""
    choices = candidates(perturbation_type, vector, vocabulary)
    return choices, probabilities(choices)


def probabilities(choices: tuple[Candidate, ...]) -> np.ndarray:
    """The plain draw: a label (or pair) evenly, then how many concepts evenly, then which evenly."""
    groups = {choice.group for choice in choices}
    sizes = {group: {choice.size for choice in choices if choice.group == group} for group in groups}
    same = {key: 0 for choice in choices for key in [(choice.group, choice.size)]}
    for choice in choices:
        same[choice.group, choice.size] += 1
    return np.array(
        [1 / len(groups) / len(sizes[c.group]) / same[c.group, c.size] for c in choices], dtype=float
    )


def intra_class(
    vector: ConceptVector, vocabulary: Vocabulary, rng: np.random.Generator
) -> ConceptVector | None:
    """Another valid manifestation of one label that the film has; the label set stays as it is.

    None where no label can be varied: single-concept labels (Cardiomegaly), no finding, only unknown others.
    """
    return _draw("intra_class", vector, vocabulary, rng)


def insertion(
    vector: ConceptVector, vocabulary: Vocabulary, rng: np.random.Generator
) -> ConceptVector | None:
    """Concepts of one more label are added; all else stays. None where every label holds or is unknown."""
    return _draw("insertion", vector, vocabulary, rng)


def deletion(vector: ConceptVector, vocabulary: Vocabulary, rng: np.random.Generator) -> ConceptVector | None:
    """One label's concepts go, a random one where there are several; the last one leaves ``unremarkable``.

    None where the film has no pathology label.
    """
    return _draw("deletion", vector, vocabulary, rng)


def outer_class(
    vector: ConceptVector, vocabulary: Vocabulary, rng: np.random.Generator
) -> ConceptVector | None:
    """One label's concepts are replaced by those of another pathology label (CoRPA).

    A film without pathology has ``unremarkable`` replaced. None where nothing can be exchanged.
    """
    return _draw("outer_class", vector, vocabulary, rng)


def _draw(
    kind: str, vector: ConceptVector, vocabulary: Vocabulary, rng: np.random.Generator
) -> ConceptVector | None:
    choices, chances = weighted_candidates(kind, vector, vocabulary)
    return choices[rng.choice(len(choices), p=chances)].target if choices else None


def _is_the_change(
    before: frozenset[str], after: frozenset[str], group: tuple[str, str], vocabulary: Vocabulary
) -> bool:
    """Whether the labels changed as the table says; with a label its parents may come, and its kin may go."""
    gone, come = group
    if gone == come:
        return after == before
    came = frozenset(vocabulary.lineage(come)) - before
    kin = {label for label in before if gone in vocabulary.lineage(label)} | {*vocabulary.lineage(gone)}
    return after - before == came and before - after <= kin and gone not in after


Proposals = Iterator[Candidate]


def _propose_intra_class(vector: ConceptVector, before: frozenset[str], vocabulary: Vocabulary) -> Proposals:
    for label in sorted(before):
        rest = vector.present - vocabulary.supporting(label, vector)
        for chosen in _subsets(vocabulary, label, vector.unknown | rest):
            yield Candidate(ConceptVector(rest | chosen, vector.unknown), (label, label), len(chosen))


def _propose_insertion(vector: ConceptVector, before: frozenset[str], vocabulary: Vocabulary) -> Proposals:
    for label in vocabulary.pathology_labels:
        if label not in before:
            for chosen in _subsets(vocabulary, label, vector.unknown | vector.present):
                target = _settled(vector.present | chosen, vector, vocabulary)
                yield Candidate(target, ("", label), len(chosen))


def _propose_deletion(vector: ConceptVector, before: frozenset[str], vocabulary: Vocabulary) -> Proposals:
    for label in sorted(before):
        rest = vector.present - vocabulary.supporting(label, vector)
        yield Candidate(_settled(rest, vector, vocabulary), (label, ""), 0)


def _propose_outer_class(vector: ConceptVector, before: frozenset[str], vocabulary: Vocabulary) -> Proposals:
    is_normal = vector.state(vocabulary.unremarkable) is True
    for label in sorted(before) or [vocabulary.no_finding_label] * is_normal:
        gone = vocabulary.supporting(label, vector) | {vocabulary.unremarkable}
        for other in vocabulary.pathology_labels:
            if other not in before:
                for chosen in _subsets(vocabulary, other, vector.unknown | vector.present):
                    target = _settled(vector.present - gone | chosen, vector, vocabulary)
                    yield Candidate(target, (label, other), len(chosen))


_PROPOSALS = {
    "intra_class": _propose_intra_class,
    "insertion": _propose_insertion,
    "deletion": _propose_deletion,
    "outer_class": _propose_outer_class,
}


def _settled(present: frozenset[str], source: ConceptVector, vocabulary: Vocabulary) -> ConceptVector:
    """The target with ``unremarkable`` gone where there are findings, there where the last one went."""
    normal = frozenset((vocabulary.unremarkable,))
    if present.intersection(vocabulary.findings):
        return ConceptVector(present - normal, source.unknown - normal)
    if source.present.intersection(vocabulary.findings) or source.present & normal:
        return ConceptVector(present | normal, source.unknown - normal)
    return ConceptVector(present, source.unknown)


def _subsets(vocabulary: Vocabulary, label: str, barred: frozenset[str]) -> Iterator[frozenset[str]]:
    """The sets of one to three concepts of a label that may be present."""
    free = [name for name in vocabulary.concepts_of(label) if name not in barred]
    for size in range(1, min(MAX_CONCEPTS, len(free)) + 1):
        yield from map(frozenset, itertools.combinations(free, size))
