"""A text's sentences against those of a source report: what a vocabulary does not know.

Each sentence is compared with the sentence of the source that shares most of its content words. Where they are nearly the
same, side, severity, measures and negation must be the same, too; where nothing is alike, the sentence has no support.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from synthorax.generation.facts import RANKS, Facts, trait_words, traits
from synthorax.generation.verdict import TextError

COMPARED = re.compile(
    r"\b(?:unchanged|stable|interval|previous(?:ly)?|prior|again|worsen(?:ed|ing)|improv(?:ed|ing)|(?:in|de)creas(?:ed|ing) (?:since|from|compared)|persist\w*|resolved|new(?:ly)?|progress(?:ed|ion))\b",
    re.I,
)
RECOMMENDED = re.compile(
    r"\b(?:recommend\w*|advised?|suggest(?:ed)? (?:follow|ct|further)|follow[- ]?up|consider (?:ct|further|chest))\b",
    re.I,
)
NOT = re.compile(
    r"\b(?:no|not|without|free of|negative|absent|resolved|clear|normal|unremarkable|intact|within)\b", re.I
)
_WORD = re.compile(r"[a-z]{3,}")
NUMBER = re.compile(r"\d+(?:\.\d+)?(?= ?(?:cm|mm)\b)")
#: Words that say little of a sentence's content; plurals without their s.
_COMMON = frozenset(
    ("again", "also", "and", "appear", "appears", "are", "been", "can", "chest", "demonstrate", "demonstrated", "demonstrates", "evidence", "film", "finding", "findings", "for", "from", "ha", "has", "have", "identified", "impression", "may", "noted", "otherwise", "overall", "patient", "present", "remain", "remains", "seen", "show", "shows", "sided", "that", "the", "there", "thi", "this", "unchanged", "visualized", "wa", "was", "were", "which", "with", "within", "without", "xxxx")
)  # fmt: skip
#: Shares of content words in common: the same sentence, and nothing alike.
SAME, UNLIKE = 0.75, 0.34


def unsupported_phrases(said: Facts, source: Facts) -> Iterator[TextError]:
    """Comparisons and recommendations that the source does not make."""
    true = " ".join(source.sentences)
    for kind, pattern in (("false comparison", COMPARED), ("recommendation", RECOMMENDED)):
        if not pattern.search(true):
            told = [sentence for sentence in said.sentences if pattern.search(sentence)]
            if told:
                yield TextError(kind, None, told[0], "")


def content(sentence: str) -> frozenset[str]:
    """The words that say what a sentence is about: no sides, severities and common words; plurals as singulars."""
    words = {word.removesuffix("s") for word in _WORD.findall(sentence.lower())}
    return frozenset(words - _COMMON - trait_words())


def compare_sentences(said: Facts, source: Facts) -> Iterator[TextError]:
    """Each sentence against the one of the source that it most resembles."""
    true = [(sentence, content(sentence)) for sentence in source.sentences]
    told = [(sentence, content(sentence)) for sentence in said.sentences]
    read = {s.said.strip(" .;") for s in (*said.statements, *source.statements)}
    all_told = frozenset().union(*(words for _, words in told))
    all_true = frozenset().union(*(words for _, words in true))
    for sentence, words in told:
        if not words:
            continue
        best = max((_share(words, other) for _, other in true), default=0.0)
        if best >= SAME:
            alike = [other for other, shared in true if _share(words, shared) >= best - 1e-9]
            yield from _traits_of(sentence, alike)
        if sentence not in read and len(words) > 1 and len(words & all_true) / len(words) < UNLIKE:
            yield TextError("unsupported sentence", None, sentence, "")
    for sentence, words in true:
        if sentence in read or len(words) < 2 or NOT.search(sentence):
            continue
        if len(words & all_told) / len(words) < UNLIKE:
            yield TextError("dropped sentence", None, "", sentence)


def _share(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / max(len(one | other), 1)


def _sides_of(sentence: str) -> frozenset[str]:
    """The sides of a sentence; that both lungs are clear is no more than that the lungs are."""
    sides = traits(sentence, "laterality")
    return sides - {"bilateral"} if NOT.search(sentence) else sides


def _traits_of(sentence: str, alike: Sequence[str]) -> Iterator[TextError]:
    """Side, severity where one is said, measures and negation, where no sentence that is alike has the same."""
    compared: tuple[tuple[str, Callable[[str], Any]], ...] = (
        ("wrong side", _sides_of),
        ("severity", lambda text: {RANKS[value] for value in traits(text, "severity")}),
        ("wrong measure", lambda text: set(NUMBER.findall(text))),
        ("contradicted finding", lambda text: bool(NOT.search(text))),
    )
    for kind, of in compared:
        here: Any = of(sentence)
        there = [of(other) for other in alike]
        if here in there or (kind == "severity" and not here):
            continue
        if kind == "severity":
            kind = (
                "overstated severity"
                if max(here, default=0) > max(there[0], default=0)
                else "understated severity"
            )
        yield TextError(kind, None, sentence, alike[0])
