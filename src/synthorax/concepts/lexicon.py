"""Vocabulary and scope words as one Aho-Corasick automaton.

One pass finds findings, scope words and punctuation together, leftmost and longest first, so that a longer
wording keeps a shorter one inside it from counting ('no change in' from 'no', 'breast mass' from 'mass').
Each pattern begins with the space before its word: none starts inside a word and hides what follows.
Each pattern carries its actions: what it means, as small integers that the scope pass understands.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import ahocorasick_rs
import yaml

from synthorax.concepts.vocabulary import Vocabulary
from synthorax.concepts.vocabulary_file import expand


class Kind(IntEnum):
    """What a pattern does in the scope pass."""

    CONCEPT = 0
    CAUTIOUS = 1
    PART = 2
    NEGATION_BEFORE = 3
    NEGATION_AFTER = 4
    UNCERTAINTY_BEFORE = 5
    UNCERTAINTY_AFTER = 6
    HISTORY_BEFORE = 7
    HISTORY_AFTER = 8
    CONTINUES = 9
    TERMINATOR = 10
    NEW_STATEMENT = 11
    VERB = 12
    ORGAN = 13
    SIDE = 14
    SEVERITY = 15
    STOP = 16
    COMMA = 17
    EXCLUDER = 18
    SHADOW = 19
    LOCATION = 20


#: One action: the kind, and the concept, side or pair it speaks of.
Action = tuple[int, Any]


@dataclass(frozen=True, eq=False)
class Lexicon:
    """The automaton and, for each of its patterns, the actions."""

    automaton: ahocorasick_rs.AhoCorasick
    actions: tuple[tuple[Action, ...], ...]


#: Scope list -> kind. Lists that only shadow shorter entries have ``SHADOW``.
_SCOPE_KINDS = {
    "negation_before": Kind.NEGATION_BEFORE,
    "negation_after": Kind.NEGATION_AFTER,
    "uncertainty_before": Kind.UNCERTAINTY_BEFORE,
    "uncertainty_after": Kind.UNCERTAINTY_AFTER,
    "history_before": Kind.HISTORY_BEFORE,
    "history_after": Kind.HISTORY_AFTER,
    "continues": Kind.CONTINUES,
    "pseudo": Kind.SHADOW,
    "terminators": Kind.TERMINATOR,
    "new_statement": Kind.NEW_STATEMENT,
    "verbs": Kind.VERB,
    "existential": Kind.SHADOW,
    "other_organs": Kind.ORGAN,
}


@cache
def scope_words() -> Mapping[str, Any]:
    """The scope lists of ``scope.yaml``."""
    return yaml.safe_load((Path(__file__).parent / "scope.yaml").read_text(encoding="utf-8"))


@lru_cache(maxsize=16)
def lexicon(vocabulary: Vocabulary) -> Lexicon:
    """The automaton of a vocabulary; made once."""
    meaning: dict[str, list[Action]] = {
        ".": [(Kind.STOP, ".")],
        ";": [(Kind.STOP, ";")],
        ",": [(Kind.COMMA, None)],
    }

    def add(phrases: Iterable[str], kind: Kind, payload: Any = None) -> None:
        for phrase in phrases:
            entry = meaning.setdefault(phrase.replace("-", " "), [])
            if (kind, payload) not in entry:
                entry.append((kind, payload))

    words = scope_words()
    for name, kind in _SCOPE_KINDS.items():
        for entry in words[name]:
            add(expand(entry), kind)
    traits = {"laterality": Kind.SIDE, "severity": Kind.SEVERITY, "locations": Kind.LOCATION}
    for name, kind in traits.items():
        for value, entries in words[name].items():
            add(entries, kind, value)
    for value, entries in words["lobes"].items():
        side, location = value.split()
        add(entries, Kind.SIDE, side)
        add(entries, Kind.LOCATION, location)
    for name, concept in vocabulary.by_name.items():
        add(concept.not_phrases, Kind.SHADOW)
        add(concept.phrases, Kind.CONCEPT, name)
        add(concept.cautious, Kind.CAUTIOUS, name)
        add(concept.unless_near, Kind.EXCLUDER, name)
        for number, (left, right) in enumerate(concept.together):
            add(left, Kind.PART, (name, number, 0))
            add(right, Kind.PART, (name, number, 1))
    verbs = {verb for entry in words["verbs"] for verb in expand(entry)}
    for phrase, entry in meaning.items():  # 'has increased' is also the verb of its clause
        if any(kind == Kind.CONTINUES for kind, _ in entry) and phrase.split()[0] in verbs:
            entry.insert(0, (Kind.VERB, None))
    negations = sorted(
        (p for entry in words["negation_before"] for p in expand(entry)), key=len, reverse=True
    )
    for phrase, entry in meaning.items():
        finds = any(kind in (Kind.CONCEPT, Kind.CAUTIOUS) for kind, _ in entry)
        if finds and any(phrase.startswith(f"{negation} ") for negation in negations):
            entry.append((Kind.NEGATION_BEFORE, None))
    patterns = tuple(meaning)
    automaton = ahocorasick_rs.AhoCorasick(
        [pattern if pattern in ".,;" else f" {pattern}" for pattern in patterns],
        matchkind=ahocorasick_rs.MatchKind.LeftmostLongest,
        implementation=ahocorasick_rs.Implementation.DFA,
    )
    return Lexicon(automaton, tuple(tuple((int(kind), what) for kind, what in meaning[p]) for p in patterns))
