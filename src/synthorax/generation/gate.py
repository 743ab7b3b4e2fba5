"""The quality gate: each statement of a text against its source, in the manner of MedVAL (arXiv 2507.03152).

An error has MedVAL's category and a level of risk from 1 (no consequence) to 4 (may harm). The check is
deterministic: what the annotator reads in the text against what it reads in the source, finding by finding; then,
where the source is a report, each sentence against the sentence of the source that it most resembles, which needs no
vocabulary.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from synthorax.concepts import Vocabulary
from synthorax.generation.facts import (
    ASSERTED,
    HISTORICAL,
    NEGATED,
    UNCERTAIN,
    Facts,
    Statement,
    facts_of_text,
    traits,
)

#: Kind of error -> (MedVAL's category, level of risk).
KINDS = {
    "dropped finding": ("missing claim", 3),
    "added finding": ("fabricated claim", 3),
    "contradicted finding": ("fabricated claim", 4),
    "wrong side": ("detail misidentification", 4),
    "added side": ("fabricated claim", 3),
    "dropped side": ("missing context", 2),
    "wrong place": ("detail misidentification", 3),
    "wrong measure": ("detail misidentification", 3),
    "overstated severity": ("overstating intensity", 3),
    "understated severity": ("understating intensity", 3),
    "added severity": ("fabricated claim", 2),
    "dropped severity": ("missing context", 1),
    "overstated certainty": ("overstating intensity", 2),
    "understated certainty": ("understating intensity", 2),
    "added denial": ("fabricated claim", 2),
    "dropped denial": ("missing claim", 1),
    "wrong age": ("detail misidentification", 3),
    "wrong sex": ("detail misidentification", 3),
    "wrong view": ("detail misidentification", 2),
    "added person": ("fabricated claim", 2),
    "dropped person": ("missing context", 2),
    "false comparison": ("false comparison", 2),
    "recommendation": ("incorrect recommendation", 2),
    "unsupported sentence": ("fabricated claim", 2),
    "dropped sentence": ("missing claim", 2),
    "length": ("other", 2),
}
#: A text passes where no error is of this level or above.
FAILS_FROM = 2

_RANK = {"small": 1, "mild": 1, "moderate": 2, "large": 3}
_POSITIVE = (ASSERTED, UNCERTAIN, HISTORICAL)
_COMPARED = re.compile(
    r"\b(?:unchanged|stable|interval|previous(?:ly)?|prior|again|worsen(?:ed|ing)|improv(?:ed|ing)|(?:in|de)creas(?:ed|ing) (?:since|from|compared)|persist\w*|resolved|new(?:ly)?|progress(?:ed|ion))\b",
    re.I,
)
_RECOMMENDED = re.compile(
    r"\b(?:recommend\w*|advised?|suggest(?:ed)? (?:follow|ct|further)|follow[- ]?up|consider (?:ct|further|chest))\b",
    re.I,
)
_NOT = re.compile(
    r"\b(?:no|not|without|free of|negative|absent|resolved|clear|normal|unremarkable|intact|within)\b", re.I
)
_WORD = re.compile(r"[a-z]{3,}")
_NUMBER = re.compile(r"\d+(?:\.\d+)?(?= ?(?:cm|mm)\b)")
#: Words that say little of a sentence's content.
_COMMON = frozenset(
    "the and are for with from that this there has have been was were seen noted identified present which chest film "
    "again also may can evidence within demonstrates demonstrated appears appear remain remains shows visualized "
    "patient xxxx impression findings finding otherwise overall".split()
)
#: Shares of content words in common: the same sentence, a sentence that may be it, and nothing alike.
SAME, LIKE, UNLIKE = 0.75, 0.6, 0.34


@dataclass(frozen=True, slots=True)
class TextError:
    """One thing that a text gets wrong.

    Attributes:
        kind: one of :data:`KINDS`, which gives ``category`` and ``risk``.
        concept: the finding; None where it is none.
        said: the words of the text; empty where something is missing.
        source: what the source says; empty where it says nothing.
    """

    kind: str
    concept: str | None
    said: str
    source: str

    @property
    def category(self) -> str:
        """MedVAL's category."""
        return KINDS[self.kind][0]

    @property
    def risk(self) -> int:
        """1 to 4, MedVAL's levels."""
        return KINDS[self.kind][1]


@dataclass(frozen=True)
class Verdict:
    """What the gate says of a text: its errors, the worst first."""

    errors: tuple[TextError, ...]

    @property
    def risk(self) -> int:
        """The highest level of any error; 1 where there is none."""
        return max((error.risk for error in self.errors), default=1)

    @property
    def is_passed(self) -> bool:
        """Whether no error is of level :data:`FAILS_FROM` or above."""
        return self.risk < FAILS_FROM


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
        errors += _sentences(said, source)
    errors += _phrases(said, source)
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
    ranks = {_RANK[s.severity] for s in there if s.severity}
    truths = {_RANK[s.severity] for s in truly if s.severity}
    if truths and not ranks:
        yield TextError("dropped severity", concept, there[0].said, next(s.said for s in truly if s.severity))
    elif ranks and not truths:
        yield TextError("added severity", concept, next(s.said for s in there if s.severity), truly[0].said)
    elif ranks != truths and (ranks - truths or _graded(there) == _graded(truly)):
        wrong = (ranks - truths) or ranks
        kind = "overstated severity" if sum(ranks) / len(ranks) > sum(truths) / len(truths) else "understated severity"
        example = next(s for s in there if s.severity and _RANK[s.severity] in wrong)
        yield TextError(kind, concept, example.said, next(s.said for s in truly if s.severity))


def _graded(statements: Sequence[Statement]) -> int:
    return sum(s.severity is not None for s in statements)


def _places(concept: str, there: Sequence[Statement], truly: Sequence[Statement]) -> Iterator[TextError]:
    places, truths = {s.location for s in there} - {None}, {s.location for s in truly} - {None}
    if wrong := places - truths:
        example = next(s for s in there if s.location in wrong)
        if truths or not truly[0].said or truly[0].location is None:
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
        elif true and not told:
            if not source.is_report:
                yield TextError("dropped person", None, "", f"{kind.split()[1]} {_listed(true)}")


def _listed(values: frozenset) -> str:
    return ", ".join(map(str, sorted(values)))


def _others(text: str, source: Facts) -> Iterator[TextError]:
    """Labels outside the vocabulary must stand in the text by their own words."""
    low = " ".join(re.sub(r"[-_/]", " ", text.lower()).split())
    for name in source.others:
        if not re.search(rf"\b{re.escape(' '.join(name.lower().split()))}\b", low):
            yield TextError("dropped finding", name, "", name)


def _phrases(said: Facts, source: Facts) -> Iterator[TextError]:
    """Comparisons and recommendations that the source does not make."""
    true = " ".join(source.sentences)
    for kind, pattern in (("false comparison", _COMPARED), ("recommendation", _RECOMMENDED)):
        if not pattern.search(true):
            told = [sentence for sentence in said.sentences if pattern.search(sentence)]
            if told:
                yield TextError(kind, None, told[0], "")


def _content(sentence: str) -> frozenset[str]:
    """The words that say what a sentence is about: no sides, severities and common words; plurals as singulars."""
    words = {word.removesuffix("s") for word in _WORD.findall(sentence.lower()) if word not in _COMMON}
    return frozenset(words - _TRAITS)


_TRAITS = frozenset(
    "left right both bilateral bilaterally leftward rightward mild mildly moderate moderately severe severely small "
    "large tiny trace minimal minimally slight slightly marked markedly massive extensive without unchanged sided".split()
)


def _sentences(said: Facts, source: Facts) -> Iterator[TextError]:
    """Each sentence against the one of the source that it most resembles."""
    true = [(sentence, _content(sentence)) for sentence in source.sentences]
    told = [(sentence, _content(sentence)) for sentence in said.sentences]
    read = {s.said.strip(" .;") for s in (*said.statements, *source.statements)}
    all_told = frozenset().union(*(words for _, words in told))
    all_true = frozenset().union(*(words for _, words in true))
    for sentence, words in told:
        if not words:
            continue
        best = max((_share(words, other) for _, other in true), default=0.0)
        if best >= SAME:
            alike = [other for other, content in true if _share(words, content) >= best - 1e-9]
            yield from _traits_of(sentence, alike)
        if sentence not in read and len(words) > 1 and len(words & all_true) / len(words) < UNLIKE:
            yield TextError("unsupported sentence", None, sentence, "")
    for sentence, words in true:
        if sentence in read or len(words) < 2 or _NOT.search(sentence):
            continue
        if len(words & all_told) / len(words) < UNLIKE:
            yield TextError("dropped sentence", None, "", sentence)


def _share(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / max(len(one | other), 1)


def _sides_of(sentence: str) -> frozenset[str]:
    """The sides of a sentence; that both lungs are clear is no more than that the lungs are."""
    sides = traits(sentence, "laterality")
    return sides - {"bilateral"} if _NOT.search(sentence) else sides


def _traits_of(sentence: str, alike: Sequence[str]) -> Iterator[TextError]:
    """Side, severity, measures and negation, where no sentence that is alike has the same."""
    for kind, of in (
        ("wrong side", _sides_of),
        ("severity", lambda text: {_RANK[value] for value in traits(text, "severity")}),
        ("wrong measure", lambda text: set(_NUMBER.findall(text))),
        ("contradicted finding", lambda text: bool(_NOT.search(text))),
    ):
        here = of(sentence)
        there = [of(other) for other in alike]
        if here in there:
            continue
        if kind == "severity":
            kind = (
                "overstated severity"
                if max(here, default=0) > max(there[0], default=0)
                else "understated severity"
            )
        yield TextError(kind, None, sentence, alike[0])
