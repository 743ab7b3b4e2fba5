"""What a manifest holds, in numbers: sources, views, sex, age, findings, text lengths and words."""

import re
from collections import Counter
from typing import Any

import polars as pl

#: Words that every report has and that say nothing.
_STOP = frozenset(
    [
        "the",
        "a",
        "an",
        "of",
        "and",
        "or",
        "is",
        "are",
        "in",
        "on",
        "at",
        "to",
        "for",
        "with",
        "no",
        "not",
        "there",
        "this",
        "that",
        "be",
        "has",
        "have",
        "was",
        "were",
        "as",
        "by",
        "from",
        "it",
        "its",
        "which",
        "without",
        "seen",
        "noted",
        "findings",
        "impression",
        "indication",
        "comparison",
        "chest",
        "xxxx",
        "final",
        "report",
        "examination",
    ]
)
_WORD = re.compile(r"[a-z]{3,}")
AGES = (0.0, 0.25, 0.5, 0.75, 1.0)


def describe(frame: pl.DataFrame, n_terms: int = 20) -> dict[str, Any]:
    """The manifest's counts; what a set does not say is counted under 'unknown'.

    Args:
        frame: a manifest.
        n_terms: how many words to give.

    Returns:
        ``films, studies, patients``; ``source, view_position, sex`` (value -> films); ``age`` (unknown, and least,
        quartiles and most, in years); ``findings`` (label of the set -> films present, absent, uncertain);
        ``report`` (films with text, and the texts' least, quartiles and most in words); ``terms`` (word -> reports).
    """
    texts = frame.unique("study_id", keep="first", maintain_order=True)["report"].drop_nulls()
    lengths = pl.Series([len(text.split()) for text in texts], dtype=pl.Int64)
    words = Counter(word for text in texts for word in set(_WORD.findall(text.lower())) - _STOP)
    findings: dict[str, dict[str, int]] = {}
    for state in ("present", "absent", "uncertain"):
        counted = frame[f"labels_{state}"].explode().drop_nulls().value_counts()
        for name, count in counted.iter_rows():
            findings.setdefault(name, {"present": 0, "absent": 0, "uncertain": 0})[state] = count
    return {
        "films": frame["file_name"].count(),
        "rows": frame.height,
        "studies": frame["study_id"].n_unique(),
        "patients": frame["patient_id"].n_unique(),
        **{name: _counts(frame[name]) for name in ("source", "view_position", "sex")},
        "age": {"unknown": frame["age"].null_count(), "quartiles": _quartiles(frame["age"])},
        "findings": dict(sorted(findings.items(), key=lambda item: (-item[1]["present"], item[0]))),
        "report": {"with_text": frame["report"].count(), "words": _quartiles(lengths)},
        "terms": dict(sorted(words.items(), key=lambda item: (-item[1], item[0]))[:n_terms]),
    }


def lines_of(found: dict[str, Any]) -> list[str]:
    """The description as lines for a terminal."""
    lines = [
        f"{found['rows']} rows: {found['films']} films, {found['studies']} studies, {found['patients']} patients"
    ]
    for name in ("source", "view_position", "sex"):
        lines.append(f"{name}: {', '.join(f'{value} {count}' for value, count in found[name].items())}")
    lines.append(f"age: {_spread(found['age']['quartiles'], 'years')}; unknown {found['age']['unknown']}")
    lines.append(
        f"reports: {found['report']['with_text']} rows, {_spread(found['report']['words'], 'words')}"
    )
    for name, counts in found["findings"].items():
        lines.append(f"  {name}: {', '.join(f'{state} {n}' for state, n in counts.items() if n)}")
    if found["terms"]:
        lines.append(f"terms (reports): {', '.join(f'{word} {n}' for word, n in found['terms'].items())}")
    return lines


def _counts(column: pl.Series) -> dict[str, int]:
    counted = column.fill_null("unknown").value_counts(sort=True)
    return dict(counted.sort("count", column.name, descending=[True, False]).iter_rows())


def _quartiles(column: pl.Series) -> list[float] | None:
    values = column.drop_nulls()
    return [float(values.quantile(q, "nearest")) for q in AGES] if len(values) else None


def _spread(quartiles: list[float] | None, unit: str) -> str:
    if quartiles is None:
        return "none"
    least, low, middle, high, most = quartiles
    return f"median {middle:g} {unit} (quartiles {low:g}-{high:g}, range {least:g}-{most:g})"
