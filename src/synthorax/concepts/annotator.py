"""Reports to concepts: every mention with its state and place, collapsed to present or absent by a policy.

    report -> sections -> normalised text -> Aho-Corasick hits -> scope pass -> mentions -> ConceptVector

A report with usable text says something about every concept: one that is not mentioned is absent. Without
usable text every concept is unknown. Policies: ``strict`` counts what is asserted (uncertain is 0),
``inclusive`` also what is uncertain, ``corpa`` as ``inclusive`` and with the original's rule for opacities.
Negated and historical mentions never count.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

from synthorax.concepts.lexicon import lexicon
from synthorax.concepts.scope import STATE_NAMES, Found, find_mentions
from synthorax.concepts.sections import usable_sections
from synthorax.concepts.vector import ConceptVector
from synthorax.concepts.vocabulary import Vocabulary

#: Signs that part words are spaces, other sentence ends are full stops.
_SIGNS = {**dict.fromkeys('\n\r\t\v\f:-/()[]{}"*_~', " "), **dict.fromkeys("?!", ".")}
_LETTERS = str.maketrans({**_SIGNS, **dict.fromkeys("–—\xa0", " "), "’": "'"})
_BYTES = bytes(ord(_SIGNS.get(chr(code), chr(code)).lower()) if code < 128 else code for code in range(256))
_BREAKS = re.compile(r"\n(?=[ \t\r]*(?:\n|\d{1,2}[.)][ \t]|[-*•][ \t]))")
#: Runs of spaces, and stops and commas without a space before the next word.
_UNEVEN = re.compile(r" {2,}|[,;](?=[a-z0-9])|(?<=[a-z]{3})\.(?=[a-z])")


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
        location: upper, middle, lower, lingula, apex, base, perihilar, retrocardiac, peripheral, diffuse, or None.
        section: findings, impression, or body where no heading says which.
    """

    concept: str
    state: str
    start: int
    end: int
    text: str
    laterality: str | None
    severity: str | None
    location: str | None
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
    if report is None or found is None:
        return Annotation(ConceptVector(unknown=frozenset(vocabulary.concepts)), (), False)
    mentions = tuple(
        Mention(name, STATE_NAMES[state], start, end, report[start:end], side, severity, location, section)
        for section, (name, start, end, state, side, severity, location, _) in found
    )
    return Annotation(collapse(((m.concept, m.state) for m in mentions), vocabulary), mentions, True)


def collapse(states: Iterable[tuple[str, str]], vocabulary: Vocabulary) -> ConceptVector:
    """(concept, state) pairs to a vector: present where one mention has a state that the policy counts."""
    counts = vocabulary.policies[vocabulary.policy].present_states
    return vocabulary.suppressed(ConceptVector(frozenset(name for name, state in states if state in counts)))


def read_report(report: str | None, vocabulary: Vocabulary) -> list[tuple[str, Found]] | None:
    """(section, mention) of a report with spans in the report as given; None where it has no usable text."""
    sections = usable_sections(report) if report else []
    if report is None or not sections:
        return None
    words, found = lexicon(vocabulary), []
    for section in sections:
        text, moved = normalise(report[section.start : section.end])
        mentions = find_mentions(text, words, vocabulary.unremarkable)
        for mention in mentions:
            mention[1] = _back(mention[1], moved) + section.start
            mention[2] = _back(mention[2] - 1, moved) + 1 + section.start
        found += [(section.name, mention) for mention in mentions]
    return found


def normalise(text: str) -> tuple[str, tuple[list[int], list[int]]]:
    """Lower case, line breaks that end a statement as full stops, one space before each word.

    Returns:
        The text, and what maps a position back: from each of the first numbers on, add the second.
    """
    if "\n" in text:
        text = _BREAKS.sub(".", text)
    if text.isascii():
        lower = text.encode("ascii").translate(_BYTES).decode("ascii")
    else:  # letter by letter, as a few capitals have longer small letters
        lower = "".join(small if len(small := c.lower()) == 1 else c for c in text).translate(_LETTERS)
    if "  " not in lower and all(lower.count(sign) == lower.count(sign + " ") for sign in (",", ";", ".")):
        return " " + lower, ([0], [-1])
    pieces, places, shifts = [], [0], [-1]
    shift, position = -1, 0
    for match in _UNEVEN.finditer(lower):
        start, end = match.span()
        kept = " " if lower[start] == " " else lower[start] + " "
        pieces += [lower[position:start], kept]
        shift += end - start - len(kept)
        places.append(end - shift)
        shifts.append(shift)
        position = end
    return " " + "".join(pieces) + lower[position:], (places, shifts)


def _back(position: int, moved: tuple[list[int], list[int]]) -> int:
    return position + moved[1][bisect_right(moved[0], position) - 1]
