"""Prompts in the words that a small text encoder was taught, whatever words they came in.

The embedded model's captions say what is there, in a hundred words or two; a word they lack means nothing to it, and
denials it never read. So the annotator reads the prompt first (synonyms, sides, severities, negation): a sentence in
words of its own is said in the captions' instead, and what is denied is not said at all.
"""

import re
from collections.abc import Collection, Iterator, Set
from typing import Any

from synthorax.concepts import Vocabulary, annotate
from synthorax.diffusion.captions import BESIDE
from synthorax.perturbations import prompt
from synthorax.perturbations.prompts import SIDES

_SENTENCE = re.compile(r"[^.;!?]+(?:\.\d[^.;!?]*)*[.;!?]*\s*")
_WORD = re.compile(r"[a-z]+")
_NOT = re.compile(r"\b(?:no|not|without|never|neither|nor|denies|absent)\b", re.IGNORECASE)
#: States of a mention that ask for the finding; a doubt does, as it does in the captions.
_ASKED = ("asserted", "uncertain")


def in_taught_words(text: str, known: Set[str]) -> str:
    """The prompt with each sentence as it is, in the captions' words, or left out.

    Args:
        text: the prompt.
        known: the words that the text encoder was taught, in small letters.

    Returns:
        Sentences of known words, and such as name no finding, stay as they are. A prompt that only denies asks for a film
        without findings.
    """
    own = Vocabulary.load()
    said, is_denied = [], False
    for sentence in _SENTENCE.findall(text):
        findings, denied = _read(sentence)
        if not findings and denied:
            is_denied = True
        elif not findings or (not denied and known >= frozenset(_WORD.findall(sentence.lower()))):
            said.append((sentence.strip(), bool(findings)))
        else:
            said.append((" ".join(findings), True))
    if is_denied and not any(is_finding for _, is_finding in said):
        said.append((prompt([], own), True))
    return " ".join(sentence for sentence, _ in said)


def words_of(tokenizer: Any) -> frozenset[str]:
    """The whole words of a WordPiece tokenizer; letters are no words but 'a'."""
    return frozenset(
        piece for piece in tokenizer.get_vocab() if piece == "a" or re.fullmatch("[a-z]{2,}", piece)
    )


def _read(sentence: str) -> tuple[list[str], bool]:
    """What a sentence asks for, in the captions' sentences, and whether it denies anything."""
    found, denied = [], False
    named = {side for side in SIDES if side in _WORD.findall(sentence.lower())}
    side = named.pop() if len(named) == 1 else None
    for vocabulary, concepts in _vocabularies():
        mentions = [m for m in annotate(sentence, vocabulary).mentions if m.concept in concepts]
        asked = {m.concept: m for m in mentions if m.state in _ASKED}
        denied |= any(m.state not in _ASKED for m in mentions)
        if set(asked) - {vocabulary.unremarkable} or (asked and vocabulary.name == "corpa"):
            sides = {name: at for name, m in asked.items() if (at := m.laterality or side)}
            severities = {
                n: m.severity for n, m in asked.items() if m.severity and vocabulary.by_name[n].sided
            }
            found.append(prompt(asked, vocabulary, sides, severities))
    return found, denied or (not found and bool(_NOT.search(sentence)))


def _vocabularies() -> Iterator[tuple[Vocabulary, Collection[str]]]:
    """The captions' vocabularies with the concepts that captions name."""
    own = Vocabulary.load()
    yield own, own.concepts
    for name, concepts in BESIDE.items():
        yield Vocabulary.load(name), concepts
