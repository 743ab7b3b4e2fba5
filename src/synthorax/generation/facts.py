"""What a text, or a row of labels, says of a film: findings with state, side, severity and place, and who was filmed.

Both sides of a check come in this one form. A report that does not mention a finding says that it is absent; a row
of labels that does not mention it says nothing.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from synthorax.concepts import Vocabulary, annotate
from synthorax.concepts.lexicon import scope_words
from synthorax.concepts.sections import SENTENCE
from synthorax.errors import InputError, unknown_choice

ASSERTED, UNCERTAIN, NEGATED, HISTORICAL = "asserted", "uncertain", "negated", "historical"

#: Severities in order; small and mild are said of different findings, and mean as much.
RANKS = {"small": 1, "mild": 1, "moderate": 2, "large": 3}
_HEADING = re.compile(r"^\s*(?:[A-Z][A-Za-z /]{2,30}:|\d{1,2}[.)](?=\s))\s*")
_AGE = re.compile(
    r"\b(\d{1,3})(?:\.0)?[- ]?(?:years?|yrs?|y)[- /]?(?:old|o\b)"
    r"|\b(\d{1,3}) years\b(?=[,.]| of age)|\bage[d:]? ?(\d{1,3})\b",
    re.I,
)
_MONTHS = re.compile(r"\b(\d{1,2})[- ]months?[- ]old\b", re.I)
_SEX = {
    "F": re.compile(r"\b(?:female|woman|lady|girl)\b", re.I),
    "M": re.compile(r"\b(?:male|man|gentleman|boy)\b", re.I),
}
_VIEW = {
    "PA": re.compile(r"\bPA\b|\bpostero-?anterior\b", re.I),
    "AP": re.compile(r"\bAP\b|\bantero-?posterior\b", re.I),
    "LATERAL": re.compile(r"\blateral (?:views?|projections?|radiographs?|films?|images?|chest)\b", re.I),
}


@dataclass(frozen=True, slots=True)
class Statement:
    """One finding as a sentence, or a label, states it.

    Attributes:
        concept: the finding.
        state: asserted, uncertain, negated or historical.
        side: left, right, bilateral; None where none is said.
        severity: small, mild, moderate, large; None where none is said.
        location: as in :class:`~synthorax.concepts.Mention`.
        said: the sentence, or the label.
    """

    concept: str
    state: str
    side: str | None = None
    severity: str | None = None
    location: str | None = None
    said: str = ""


@dataclass(frozen=True)
class Facts:
    """All that a source or a text says.

    Attributes:
        statements: the findings, in order.
        others: names of labels that the vocabulary does not list and that hold; they are said and checked by their own words.
        sexes, ages, views: who was filmed and how: F and M; years; PA, AP, LATERAL. Empty where not said.
        race: as the source writes it; it is named, never judged.
        sentences: the text's sentences without headings; empty for labels.
        is_report: whether silence means absent (a report) or unknown (labels).
    """

    statements: tuple[Statement, ...] = ()
    others: tuple[str, ...] = ()
    sexes: frozenset[str] = frozenset()
    ages: frozenset[int] = frozenset()
    views: frozenset[str] = frozenset()
    race: str | None = None
    sentences: tuple[str, ...] = field(default=(), repr=False)
    is_report: bool = True


def facts_of_text(text: str, vocabulary: Vocabulary) -> Facts:
    """Read a report or a description.

    A finding without a side of its own takes the only side of its sentence, a finding without a severity the only
    one of a sentence that names no other finding.
    """
    spans = [(match.start(), match.end()) for match in SENTENCE.finditer(text)]
    mentions = annotate(text, vocabulary).mentions
    statements = []
    for start, end in spans:
        here = [mention for mention in mentions if start <= mention.start < end]
        said = _HEADING.sub("", text[start:end]).strip()
        sides, severities = traits(said, "laterality"), traits(said, "severity")
        is_alone = len({mention.concept for mention in here}) == 1
        for mention in here:
            side, severity = mention.laterality, mention.severity
            if side is None and len(sides) == 1 and vocabulary.by_name[mention.concept].sided:
                (side,) = sides
            if severity is None and is_alone and len(severities) == 1:
                (severity,) = severities
            statements.append(
                Statement(mention.concept, mention.state, side, severity, mention.location, said)
            )
    return Facts(
        statements=tuple(statements),
        sexes=frozenset(sex for sex, word in _SEX.items() if word.search(text)),
        ages=frozenset(
            [int(next(filter(None, found))) for found in _AGE.findall(text)]
            + [int(months) // 12 for months in _MONTHS.findall(text)]
        ),
        views=frozenset(view for view, word in _VIEW.items() if word.search(text)),
        sentences=tuple(
            said for start, end in spans if (said := _HEADING.sub("", text[start:end]).strip(" .;\n"))
        ),
    )


def facts_of_labels(row: Mapping[str, Any], vocabulary: Vocabulary) -> Facts:
    """Take a manifest row's labels, and its ``sides`` and ``severities`` where it has them.

    Args:
        row: ``labels_present``, ``labels_absent``, ``labels_uncertain`` (lists of the set's own names, or NULL),
            ``sex``, ``age``, ``view_position``, ``race``; ``sides`` and ``severities``: lists of ``{concept, side}``
            and ``{concept, severity}``, the concept under the vocabulary's name or the set's.
        vocabulary: its ``label_columns`` say what a name means.

    Raises:
        InputError: the row has no labels, or a side or severity that does not exist or of a finding that is not present.
    """
    columns = vocabulary.label_columns
    if row.get("labels_present") is None and row.get("labels_absent") is None:
        raise InputError(
            f"study {row.get('study_id')!r} has no labels; expected labels_present. Import a set that has label columns."
        )
    meaning = dict(columns.present) if columns else {}
    normal = set(columns.no_finding) if columns else set()
    found: dict[str, Statement] = {}
    others: list[str] = []
    for state, name in (
        (UNCERTAIN, "labels_uncertain"),
        (NEGATED, "labels_absent"),
        (ASSERTED, "labels_present"),
    ):
        for label in row.get(name) or ():
            words = plain(label)
            if words in normal:
                if state == ASSERTED:
                    found[vocabulary.unremarkable] = Statement(vocabulary.unremarkable, state, said=words)
                continue
            given = meaning.get(words) or ((key,) if (key := words.lower().replace(" ", "_")) in vocabulary.by_name else ())  # fmt: skip
            if not given and state == ASSERTED:
                given = tuple(vocabulary.ordered(annotate(f"{words}.", vocabulary).vector.present))
                others.append(words)
            for concept in given:
                found[concept] = Statement(concept, state, said=words)
    for what, column, allowed in (
        ("side", "sides", scope_words()["laterality"]),
        ("severity", "severities", scope_words()["severity"]),
    ):
        for entry in row.get(column) or ():
            named = plain(entry["concept"])
            concept = (meaning.get(named) or (named.lower().replace(" ", "_"),))[0]
            if entry[what] not in allowed:
                raise unknown_choice(f"{what} of {named}", str(entry[what]), allowed)
            if concept not in found or found[concept].state == NEGATED:
                raise InputError(
                    f"study {row.get('study_id')!r} gives a {what} for {named!r}, which it does not say is present; "
                    f"expected one of {', '.join(found) or 'nothing'}. Correct the row."
                )
            old = found[concept]
            found[concept] = Statement(
                concept,
                old.state,
                entry[what] if what == "side" else old.side,
                entry[what] if what == "severity" else old.severity,
                said=old.said,
            )
    sex, age, view = row.get("sex"), row.get("age"), row.get("view_position")
    return Facts(
        statements=tuple(found[name] for name in vocabulary.concepts if name in found),
        others=tuple(dict.fromkeys(others)),
        sexes=frozenset([sex] if sex else []),
        ages=frozenset([int(age)] if age is not None else []),
        views=frozenset([view] if view else []),
        race=row.get("race"),
        is_report=False,
    )


def plain(label: str) -> str:
    """A label's name in words: 'Pleural_Thickening' -> 'Pleural Thickening'."""
    return label.replace("_", " ").strip()


def traits(text: str, kind: str) -> frozenset[str]:
    """The sides (``laterality``), severities (``severity``) or places (``locations``) that a text names anywhere."""
    low = re.sub(r"[-/(),:]", " ", text.lower())
    return frozenset(value for value, words in _patterns(kind) if words.search(low))


@cache
def trait_words() -> frozenset[str]:
    """All words for sides and severities."""
    lists = [words for kind in ("laterality", "severity") for words in scope_words()[kind].values()]
    return frozenset(word for words in lists for phrase in words for word in phrase.split())


@cache
def _patterns(kind: str) -> list[tuple[str, re.Pattern[str]]]:
    return [
        (value, re.compile(rf"\b(?:{'|'.join(map(re.escape, words))})\b"))
        for value, words in scope_words()[kind].items()
    ]
