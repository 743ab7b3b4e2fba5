"""A report with what was found in it, for a terminal."""

from typing import TYPE_CHECKING

from synthorax.concepts.annotator import Annotation
from synthorax.concepts.vocabulary import Vocabulary

if TYPE_CHECKING:
    from rich.text import Text

STYLES = {
    "asserted": "bold white on red",
    "uncertain": "black on yellow",
    "negated": "black on green",
    "historical": "white on blue",
}


def coloured(report: str, annotation: Annotation) -> "Text":
    """The report with each mention in the colour of its state."""
    from rich.text import Text

    text = Text(report)
    for mention in annotation.mentions:
        text.stylize(STYLES[mention.state], mention.start, mention.end)
    return text


def lines_of(annotation: Annotation, vocabulary: Vocabulary) -> list[str]:
    """One line a mention, then the concepts and labels that follow."""
    lines = [
        f"{mention.start:>5}-{mention.end:<5} {mention.concept:<22} {mention.state:<11} "
        f"{' '.join(filter(None, (mention.laterality, mention.severity, mention.location))):<22} {mention.section:<11} "
        f"{' '.join(mention.text.split())}"
        for mention in annotation.mentions
    ]
    labels = [f"{label}: {_word(value)}" for label, value in vocabulary.labels_of(annotation.vector).items()]
    present = ", ".join(vocabulary.ordered(annotation.vector.present)) or "none"
    return [*lines, annotation.sentence(), f"Present under {vocabulary.policy}: {present}", "; ".join(labels)]


def _word(value: bool | None) -> str:
    return {True: "yes", False: "no", None: "unknown"}[value]
