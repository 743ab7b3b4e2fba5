"""Which findings a virtual patient has together, and which pairs of labels are kept out on purpose."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import yaml

from synthorax.concepts import Vocabulary
from synthorax.errors import InputError, unknown_choice

PAIRS = ("any", "allowed", "withheld")
#: How many labels a film has: none (unremarkable), one, two, three.
N_LABELS = (0.35, 0.40, 0.22, 0.03)
SECOND_CONCEPT = 0.35

LabelPair = frozenset[str]


def withheld_pairs(path: Path | str | None = None) -> frozenset[LabelPair]:
    """The published pairs of labels that training never shows together, from ``withheld_pairs.yaml``.

    Raises:
        InputError: an entry that is not two different labels of the vocabulary.
    """
    path = Path(path) if path else Path(__file__).with_name("withheld_pairs.yaml")
    labels = Vocabulary.load().pathology_labels
    pairs = []
    for line, entry in enumerate(yaml.safe_load(path.read_text()), start=1):
        if len(set(entry)) != 2 or not set(entry) <= set(labels):
            raise InputError(
                f"{path.name} entry {line} is {entry}; expected two different labels of {', '.join(labels)}."
            )
        pairs.append(frozenset(entry))
    return frozenset(pairs)


def has_pair(concepts: Iterable[str], pairs: Iterable[LabelPair], vocabulary: Vocabulary) -> bool:
    """Whether the concepts' labels hold both labels of any of the pairs."""
    labels = {vocabulary.label_of(concept) for concept in concepts}
    return any(pair <= labels for pair in pairs)


def draw_concepts(
    rng: np.random.Generator,
    vocabulary: Vocabulary,
    pairs: str = "any",
    listed: frozenset[LabelPair] = frozenset(),
) -> list[str]:
    """Draw 0-3 labels and 1-2 concepts of each; an empty list is a healthy patient.

    Args:
        rng: the only source of chance.
        vocabulary: its pathology concepts are drawn from.
        pairs: ``any``; ``allowed`` never shows both labels of a listed pair; ``withheld`` always shows one pair.
        listed: the pairs of labels meant.
    """
    if pairs not in PAIRS:
        raise unknown_choice("pairs", pairs, PAIRS)
    while True:
        labels = _draw_labels(rng, vocabulary, pairs, listed)
        concepts = []
        for label in labels:
            choices = vocabulary.concepts_of(label)
            n = 1 + int(len(choices) > 1 and rng.random() < SECOND_CONCEPT)
            concepts += [choices[i] for i in rng.choice(len(choices), n, replace=False)]
        if pairs != "allowed" or not has_pair(concepts, listed, vocabulary):
            return vocabulary.ordered(concepts)


def _draw_labels(
    rng: np.random.Generator, vocabulary: Vocabulary, pairs: str, listed: frozenset[LabelPair]
) -> list[str]:
    choices = vocabulary.pathology_labels
    if pairs != "withheld":
        n = int(rng.choice(len(N_LABELS), p=N_LABELS))
        return [choices[i] for i in rng.choice(len(choices), n, replace=False)]
    pair = sorted(sorted(p) for p in listed)[rng.integers(len(listed))]
    others = [label for label in choices if label not in pair]
    return [*pair, others[rng.integers(len(others))]] if rng.random() < 0.1 else pair
