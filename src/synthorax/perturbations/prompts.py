"""A concept vector as a sentence for the editor: the findings that should exist, never the removals."""

from collections.abc import Iterable, Mapping

from synthorax.concepts import Vocabulary
from synthorax.errors import unknown_choice

SIDES = ("left", "right", "bilateral")


SEVERITIES = ("small", "mild", "moderate", "large")


def prompt(
    concepts: Iterable[str],
    vocabulary: Vocabulary,
    sides: Mapping[str, str] | None = None,
    severities: Mapping[str, str] | None = None,
) -> str:
    """The target findings as short sentences in the vocabulary's order: 'Left effusion. Enlarged heart.'

    Args:
        concepts: what the film should show; none (or only ``unremarkable``) gives 'No findings.'.
        vocabulary: gives each concept's phrase, order, and whether it has a side at all.
        sides: concept -> left, right or bilateral, where known. A finding without a side ignores its entry.
        severities: concept -> small, mild, moderate or large, where known.

    Raises:
        InputError: a concept, a side or a severity that does not exist.
    """
    present = vocabulary.ordered(concepts)
    findings = [name for name in present if name != vocabulary.unremarkable] or [vocabulary.unremarkable]
    return " ".join(
        _sentence(name, vocabulary, (sides or {}).get(name), (severities or {}).get(name))
        for name in findings
    )


def _sentence(concept: str, vocabulary: Vocabulary, side: str | None, severity: str | None) -> str:
    if side is not None and not vocabulary.by_name[concept].sided:
        side = None
    for what, value, allowed in (("side", side, SIDES), ("severity", severity, SEVERITIES)):
        if value is not None and value not in allowed:
            raise unknown_choice(f"{what} of {concept}", value, allowed)
    words = " ".join(word for word in (severity, side) if word).capitalize()
    phrase = vocabulary.phrase(concept)
    return f"{words} {phrase[0].lower()}{phrase[1:]}." if words else f"{phrase}."
