"""The quality gate: each statement of a text against its source, in the manner of MedVAL (arXiv 2507.03152).

An error has MedVAL's category and a level of risk from 1 (no consequence) to 4 (may harm). The check is
deterministic: what the annotator reads in the text against what it reads in the source, finding by finding; then,
where the source is a report, each sentence against the sentence of the source that it most resembles, which needs no
vocabulary.
"""

import re
from collections.abc import Iterator, Sequence

from synthorax.concepts import Vocabulary
from synthorax.generation.facts import (
    ASSERTED,
    HISTORICAL,
    NEGATED,
    RANKS,
    UNCERTAIN,
    Facts,
    Statement,
    facts_of_text,
    traits,
)
from synthorax.generation.sentences import compare_sentences, unsupported_phrases
from synthorax.generation.verdict import TextError, Verdict

_POSITIVE = (ASSERTED, UNCERTAIN, HISTORICAL)


def check_text(text: str, source: Facts, vocabulary: Vocabulary, max_words: int | None = None) -> Verdict:
    """Judge a text against its source.

    Args:
        text: the description or report to judge.
        source: the truth, from labels or from a report.
        vocabulary: the one that the source was read with.
        max_words: more words are an error; None is no limit.

    Returns:
        The errors, each once a finding and kind, the highest risk first.
    """
    said = facts_of_text(text, vocabulary)
    errors = [*_findings(said, source, vocabulary), *_person(said, source), *_others(text, source)]
    if source.is_report:
        known = {(error.kind, error.said.strip(" .;")) for error in errors}
        errors += [e for e in compare_sentences(said, source) if (e.kind, e.said) not in known]
    errors += unsupported_phrases(said, source)
    if not text.strip():
        errors.append(TextError("length", None, "", "a text is empty"))
    if max_words is not None and (count := len(text.split())) > max_words:
        errors.append(TextError("length", None, f"{count} words", f"at most {max_words} words"))
    once = {(error.kind, error.concept, error.said if error.concept is None else ""): error for error in reversed(errors)}  # fmt: skip
    return Verdict(tuple(sorted(reversed(once.values()), key=lambda error: -error.risk)))


def _findings(said: Facts, source: Facts, vocabulary: Vocabulary) -> Iterator[TextError]:
    """Finding by finding: is it there, in the same state, on the same side, as severe?"""
    normal = vocabulary.unremarkable
    true_disease = {s.concept for s in source.statements if s.state == ASSERTED} & set(vocabulary.findings)
    for concept in vocabulary.concepts:
        told = [s for s in said.statements if s.concept == concept]
        true = [s for s in source.statements if s.concept == concept]
        if concept == normal:
            yield from _normal(told, true, true_disease, source)
            continue
        yield from _states(concept, told, true, source)
        there = [s for s in told if s.state in _POSITIVE]
        truly = [s for s in true if s.state in _POSITIVE]
        if there and truly:
            if vocabulary.by_name[concept].sided:
                yield from _sides(concept, there, truly)
            yield from _severities(concept, there, truly)
            yield from _places(concept, there, truly)


def _states(
    concept: str, told: Sequence[Statement], true: Sequence[Statement], source: Facts
) -> Iterator[TextError]:
    states, truths = {s.state for s in told}, {s.state for s in true}
    if not states & set(_POSITIVE) and truths & set(_POSITIVE) and not told:
        yield TextError("dropped finding", concept, "", _first(true, *_POSITIVE).said)
    for one in told:
        if one.state in truths:
            fits = [t for t in true if t.state == one.state]
            if one.state != NEGATED or any(_covers(t, one) for t in fits):
                continue
        if not true:
            if one.state in _POSITIVE:
                yield TextError("added finding", concept, one.said, "")
            elif not source.is_report:
                yield TextError("added denial", concept, one.said, "")
        elif one.state == NEGATED:
            against = [
                t for t in true if t.state in _POSITIVE and (t.side is None or one.side in (None, t.side))
            ]
            if against:
                yield TextError("contradicted finding", concept, one.said, against[0].said)
        elif truths == {NEGATED}:
            yield TextError("contradicted finding", concept, one.said, true[0].said)
        elif one.state == ASSERTED:
            yield TextError("overstated certainty", concept, one.said, true[0].said)
        elif ASSERTED in truths and ASSERTED not in states:
            yield TextError("understated certainty", concept, one.said, _first(true, ASSERTED).said)
    if told and states == {NEGATED} and UNCERTAIN in truths and ASSERTED not in truths:
        yield TextError("understated certainty", concept, told[0].said, _first(true, UNCERTAIN).said)
    if not told and truths == {NEGATED}:
        yield TextError("dropped denial", concept, "", true[0].said)


def _first(statements: Sequence[Statement], *states: str) -> Statement:
    return next(s for s in statements if s.state in states)


def _covers(truth: Statement, one: Statement) -> bool:
    """Whether a denial of the source is as wide as the text's."""
    return truth.side is None or truth.side == one.side


def _normal(
    told: Sequence[Statement], true: Sequence[Statement], disease: set[str], source: Facts
) -> Iterator[TextError]:
    """'The lungs are clear' is wrong only where the source has findings and never says so itself."""
    calls = [s for s in told if s.state == ASSERTED]
    if calls and disease and not any(s.state in _POSITIVE for s in true):
        yield TextError("contradicted finding", calls[0].concept, calls[0].said, ", ".join(sorted(disease)))
    if not source.is_report and true and not calls:
        yield TextError("dropped finding", true[0].concept, "", true[0].said)


def _sides(concept: str, there: Sequence[Statement], truly: Sequence[Statement]) -> Iterator[TextError]:
    sides, truths = {s.side for s in there} - {None}, {s.side for s in truly} - {None}
    if not truths:
        near = frozenset().union(*(traits(s.said, "laterality") for s in truly))
        if sides - near:
            yield TextError("added side", concept, next(s.said for s in there if s.side), truly[0].said)
    elif not sides:
        yield TextError("dropped side", concept, there[0].said, next(s.said for s in truly if s.side))
    elif wrong := (_whole(sides) - _whole(truths)) or (_whole(truths) - _whole(sides)):
        example = next((s for s in there if s.side in wrong), there[0])
        yield TextError("wrong side", concept, example.said, next(s.said for s in truly if s.side))


def _whole(sides: set[str | None]) -> set[str | None]:
    """Left and right together are both sides, and both sides are left and right."""
    return sides | {"left", "right", "bilateral"} if "bilateral" in sides or len(sides) > 1 else sides


def _severities(concept: str, there: Sequence[Statement], truly: Sequence[Statement]) -> Iterator[TextError]:
    ranks = {RANKS[s.severity] for s in there if s.severity}
    truths = {RANKS[s.severity] for s in truly if s.severity}
    if truths and not ranks:
        yield TextError("dropped severity", concept, there[0].said, next(s.said for s in truly if s.severity))
    elif ranks and not truths:
        yield TextError("added severity", concept, next(s.said for s in there if s.severity), truly[0].said)
    elif ranks != truths and (ranks - truths or _graded(there) == _graded(truly)):
        wrong = (ranks - truths) or ranks
        kind = (
            "overstated severity"
            if sum(ranks) / len(ranks) > sum(truths) / len(truths)
            else "understated severity"
        )
        example = next(s for s in there if s.severity and RANKS[s.severity] in wrong)
        yield TextError(kind, concept, example.said, next(s.said for s in truly if s.severity))


def _graded(statements: Sequence[Statement]) -> int:
    return sum(s.severity is not None for s in statements)


def _places(concept: str, there: Sequence[Statement], truly: Sequence[Statement]) -> Iterator[TextError]:
    places, truths = {s.location for s in there} - {None}, {s.location for s in truly} - {None}
    near = frozenset().union(*(traits(s.said, "locations") for s in truly))
    if wrong := places - truths - near:
        example = next(s for s in there if s.location in wrong)
        yield TextError("wrong place", concept, example.said, truly[0].said)


def _person(said: Facts, source: Facts) -> Iterator[TextError]:
    """Sex, age and view: those told must be those known; labels must also all be told."""
    for kind, told, true in (
        ("wrong sex", said.sexes, source.sexes),
        ("wrong age", said.ages, source.ages),
        ("wrong view", said.views, source.views),
    ):
        if told and not true:
            yield TextError("added person", None, f"{kind.split()[1]} {_listed(told)}", "")
        elif extra := told - true:
            yield TextError(kind, None, _listed(extra), _listed(true))
        elif true and not told and not source.is_report:
            yield TextError("dropped person", None, "", f"{kind.split()[1]} {_listed(true)}")


def _listed(values: frozenset) -> str:
    return ", ".join(map(str, sorted(values)))


def _others(text: str, source: Facts) -> Iterator[TextError]:
    """Labels outside the vocabulary must stand in the text by their own words."""
    low = " ".join(re.sub(r"[-_/]", " ", text.lower()).split())
    for name in source.others:
        if not re.search(rf"\b{re.escape(' '.join(name.lower().split()))}\b", low):
            yield TextError("dropped finding", name, "", name)
