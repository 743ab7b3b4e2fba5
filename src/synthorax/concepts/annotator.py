"""Reports to concepts: every mention with its state and its place, collapsed to present or absent by a policy.

    report -> sections -> normalised text -> Aho-Corasick hits -> scope pass -> mentions -> ConceptVector

A report with usable text says something about every concept: one that is not mentioned is absent. Without usable
text every concept is unknown. Policies: ``strict`` counts what is asserted, ``inclusive`` also what is
uncertain, ``corpa`` as ``inclusive`` and with the original's rule for opacities. Negated and
historical mentions never count.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate

from synthorax.concepts.lexicon import lexicon
from synthorax.concepts.scope import STATE_NAMES, Found, find_mentions
from synthorax.concepts.sections import usable_sections
from synthorax.concepts.vector import ConceptVector
from synthorax.concepts.vocabulary import Vocabulary

_TABLE = str.maketrans(
    {**dict.fromkeys('\n\r\t\v\f-/()[]{}"*_~–—\xa0', " "), **dict.fromkeys("?!", "."), "’": "'"}
)
_BREAKS = re.compile(r"\n(?=[ \t\r]*(?:\n|\d{1,2}[.)][ \t]|[-*•][ \t]))")
_SPACES = re.compile(r" {2,}")


@dataclass(frozen=True, slots=True)
class Mention:
    """One place in a report that speaks of a concept.

    Attributes:
        concept: the concept's name.
        state: asserted, uncertain, negated or historical.
        start, end: the span in the report as given: ``report[start:end]``.
        text: that span.
        laterality: left, right, bilateral, or None where no side is said.
        severity: small, mild, moderate, large, or None.
        section: findings, impression, or body where no heading says which.
    """

    concept: str
    state: str
    start: int
    end: int
    text: str
    laterality: str | None
    severity: str | None
    section: str


@dataclass(frozen=True)
class Annotation:
    """What a report says.

    Attributes:
        vector: the concepts under the policy; all unknown where the report has no usable text.
        mentions: every mention, in order.
        has_text: whether findings, impression or body text was there.
    """

    vector: ConceptVector
    mentions: tuple[Mention, ...]
    has_text: bool

    def sentence(self) -> str:
        """The outcome in one sentence."""
        if not self.has_text:
            return "The report has no findings, impression or other usable text; every concept is unknown."
        count = len(self.vector.present)
        return f"{len(self.mentions)} mentions; {count} concept{'' if count == 1 else 's'} present."


def annotate(report: str | None, vocabulary: Vocabulary, policy: str | None = None) -> Annotation:
    """Read one report.

    Args:
        report: its text with or without headings; None or blank is a report without text.
        vocabulary: what to look for.
        policy: strict, inclusive or corpa; the vocabulary's own (strict) by default.

    Raises:
        InputError: no such policy.
    """
    vocabulary = vocabulary if policy is None else vocabulary.under(policy)
    found = read_report(report, vocabulary)
    if found is None:
        return Annotation(ConceptVector(unknown=frozenset(vocabulary.concepts)), (), False)
    mentions = tuple(
        Mention(name, STATE_NAMES[state], start, end, report[start:end], side, severity, section)
        for section, (name, start, end, state, side, severity, _) in found
    )
    return Annotation(collapse(((m.concept, m.state) for m in mentions), vocabulary), mentions, True)


def collapse(states: Iterable[tuple[str, str]], vocabulary: Vocabulary) -> ConceptVector:
    """(concept, state) pairs to a vector: present where one mention has a state that the policy counts."""
    counts = vocabulary.policies[vocabulary.policy].present_states
    return vocabulary.suppressed(ConceptVector(frozenset(name for name, state in states if state in counts)))


def read_report(report: str | None, vocabulary: Vocabulary) -> list[tuple[str, Found]] | None:
    """(section, mention) of a report with spans in the report as given; None where it has no usable text."""
    sections = usable_sections(report) if report else []
    if not sections:
        return None
    words, found = lexicon(vocabulary), []
    for section in sections:
        text, shifts = normalise(report[section.start : section.end])
        mentions = find_mentions(text, words, vocabulary.unremarkable)
        for mention in mentions:
            mention[1] = _back(mention[1], shifts) + section.start
            mention[2] = _back(mention[2] - 1, shifts) + 1 + section.start
        found += [(section.name, mention) for mention in mentions]
    return found


def normalise(text: str) -> tuple[str, tuple[list[int], list[int]] | None]:
    """Lower case, breaks as full stops, single spaces; and what maps a position back (None: nothing moved)."""
    if "\n" in text:
        text = _BREAKS.sub(".", text)
    lower = text.lower()
    if len(lower) != len(text):  # a few capitals have longer small letters
        lower = "".join(small if len(small := letter.lower()) == 1 else letter for letter in text)
    lower = lower.translate(_TABLE)
    if "  " not in lower:
        return lower, None
    runs = [(match.start(), match.end() - match.start() - 1) for match in _SPACES.finditer(lower)]
    removed = list(accumulate(length for _, length in runs))
    places = [start + 1 - (total - length) for (start, length), total in zip(runs, removed, strict=True)]
    return _SPACES.sub(" ", lower), (places, removed)


def _back(position: int, shifts: tuple[list[int], list[int]] | None) -> int:
    if shifts is None:
        return position
    index = bisect_right(shifts[0], position)
    return position + (shifts[1][index - 1] if index else 0)
