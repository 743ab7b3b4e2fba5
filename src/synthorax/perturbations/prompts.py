"""A concept vector as a sentence for the editor: the findings that should exist, never the removals."""

from collections.abc import Iterable, Mapping

from synthorax.concepts import Vocabulary
from synthorax.errors import unknown_choice

SIDES = ("left", "right", "bilateral")


def prompt(concepts: Iterable[str], vocabulary: Vocabulary, sides: Mapping[str, str] | None = None) -> str:
    """The target findings as short sentences in the vocabulary's order: 'Left effusion. Enlarged heart.'

    Args:
        concepts: what the film should show; none (or only ``unremarkable``) gives 'No findings.'.
        vocabulary: gives each concept's phrase, order, and whether it has a side at all.
        sides: concept -> left, right or bilateral, where known. A finding without a side ignores its entry.

    Raises:
        InputError: a concept or a side that does not exist.
    """
    present = vocabulary.ordered(concepts)
    findings = [name for name in present if name != vocabulary.unremarkable] or [vocabulary.unremarkable]
    return " ".join(_sentence(name, vocabulary, (sides or {}).get(name)) for name in findings)


def _sentence(concept: str, vocabulary: Vocabulary, side: str | None) -> str:
    phrase = vocabulary.phrase(concept)
    if side is None or not vocabulary.by_name[concept].sided:
        return f"{phrase}."
    if side not in SIDES:
        raise unknown_choice(f"side of {concept}", side, SIDES)
    return f"{side.capitalize()} {phrase[0].lower()}{phrase[1:]}."
